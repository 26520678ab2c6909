/** A google.protobuf.Struct as protobufjs reads it. */
export interface Struct {
  fields?: Record<string, Value>;
}

interface Value {
  number_value?: number;
  string_value?: string;
  bool_value?: boolean;
  struct_value?: Struct;
  list_value?: { values?: Value[] };
}

/** The JSON object that it stands for. */
export function structJson({ fields = {} }: Struct): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, valueJson(value)]));
}

function valueJson({ number_value, string_value, bool_value, struct_value, list_value }: Value): unknown {
  if (struct_value) return structJson(struct_value);
  if (list_value) return (list_value.values ?? []).map(valueJson);
  return number_value ?? string_value ?? bool_value ?? null;
}
