/*
 * The rows of rows.ts by libxlsxwriter in constant memory: libxlsxwriter ROWS FILE. Prints its seconds and CPU seconds as JSON.
 * As there, the rows are made before: only writing them is measured.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <xlsxwriter.h>

enum { COLUMNS = 10, DISTINCT = 20000 };

struct row {
  int index;
  char name[40], mail[40], time[32], order[32], text[48];
};

static struct row kept[DISTINCT];

static void make_rows(void) {
  for (int index = 0; index < DISTINCT; index++) {
    struct row *row = &kept[index];
    row->index = index;
    snprintf(row->name, sizeof row->name, "用户名称%d", index % 9973);
    snprintf(row->mail, sizeof row->mail, "user%d@example.com", index);
    snprintf(row->time, sizeof row->time, "2026-11-%d 10:00:00", 10 + index % 20);
    snprintf(row->order, sizeof row->order, "order-%d", index * 7919 % 1000003);
    snprintf(row->text, sizeof row->text, "some text, with a comma %d", index % 100);
  }
}

static int write_rows(int rows, const char *file) {
  lxw_workbook_options options = {.constant_memory = LXW_TRUE};
  lxw_workbook *book = workbook_new_opt(file, &options);
  lxw_worksheet *sheet = workbook_add_worksheet(book, NULL);
  for (int column = 0; column < COLUMNS; column++) {
    char title[16];
    snprintf(title, sizeof title, "Column %d", column);
    worksheet_write_string(sheet, 0, column, title, NULL);
  }
  for (int number = 0; number < rows; number++) {
    const struct row *row = &kept[number % DISTINCT];
    lxw_row_t at = number + 1;
    worksheet_write_number(sheet, at, 0, row->index, NULL);
    worksheet_write_string(sheet, at, 1, row->name, NULL);
    worksheet_write_string(sheet, at, 2, row->mail, NULL);
    worksheet_write_number(sheet, at, 3, row->index * 1.25, NULL);
    worksheet_write_boolean(sheet, at, 4, row->index % 2 == 0, NULL);
    worksheet_write_string(sheet, at, 5, row->time, NULL);
    worksheet_write_string(sheet, at, 6, row->order, NULL);
    worksheet_write_number(sheet, at, 7, row->index % 7, NULL);
    /* The next is empty. */
    worksheet_write_string(sheet, at, 9, row->text, NULL);
  }
  return workbook_close(book);
}

static double wall_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  make_rows();
  double wall = wall_seconds(), cpu = cpu_seconds();
  int error = write_rows(atoi(arguments[1]), arguments[2]);
  if (error != LXW_NO_ERROR) {
    fprintf(stderr, "%s\n", lxw_strerror(error));
    return 1;
  }
  printf("{\"seconds\":%f,\"cpuSeconds\":%f}\n", wall_seconds() - wall, cpu_seconds() - cpu);
  return 0;
}
