/** Names, addresses and other texts that look real, by faker, whose data a locale has; those it lacks are English. */
import type { Faker } from "@faker-js/faker";
import type { Random } from "./random.ts";

export const LOCALES = [
  "en",
  "de",
  "es",
  "fr",
  "it",
  "ja",
  "ko",
  "nl",
  "pl",
  "pt_BR",
  "ru",
  "sv",
  "tr",
  "zh_CN",
  "zh_TW",
] as const;
export type Locale = (typeof LOCALES)[number];

/** What faker makes some 70,000 (a name) to 1,000,000 (a country) of a second; none depends on the time of day. */
const MAKERS = {
  name: (faker) => faker.person.fullName(),
  first_name: (faker) => faker.person.firstName(),
  last_name: (faker) => faker.person.lastName(),
  job_title: (faker) => faker.person.jobTitle(),
  username: (faker) => faker.internet.username(),
  email: (faker) => faker.internet.exampleEmail(),
  url: (faker) => faker.internet.url(),
  ip: (faker) => faker.internet.ipv4(),
  ipv6: (faker) => faker.internet.ipv6(),
  mac: (faker) => faker.internet.mac(),
  phone: (faker) => faker.phone.number(),
  country: (faker) => faker.location.country(),
  state: (faker) => faker.location.state(),
  city: (faker) => faker.location.city(),
  street_address: (faker) => faker.location.streetAddress(),
  zip_code: (faker) => faker.location.zipCode(),
  company: (faker) => faker.company.name(),
  product: (faker) => faker.commerce.productName(),
  currency: (faker) => faker.finance.currencyCode(),
  iban: (faker) => faker.finance.iban(),
  color: (faker) => faker.color.human(),
  word: (faker) => faker.lorem.word(),
  sentence: (faker) => faker.lorem.sentence(),
  paragraph: (faker) => faker.lorem.paragraph(),
} satisfies Record<string, (faker: Faker) => string>;

export type RealisticKind = keyof typeof MAKERS;
export const REALISTIC_KINDS = Object.keys(MAKERS) as RealisticKind[];

/** Loads the locale's data, and answers what makes such texts of the random numbers that come. */
export async function realistic(kind: RealisticKind, locale: Locale): Promise<(random: Random) => string> {
  const { faker: loaded } = await LOADERS[locale]();
  let current: Random;
  // The class by itself is only in the module that loads every locale.
  const Class = loaded.constructor as typeof Faker;
  const faker = new Class({
    locale: loaded.rawDefinitions,
    // What is drawn is the caller's; a seed of its own would take 50 microseconds a row.
    randomizer: { next: () => current.next(), seed: () => {} },
  });
  const make = MAKERS[kind];
  return (random) => {
    current = random;
    return make(faker);
  };
}

interface LocaleModule {
  faker: Faker;
}

const LOADERS: Record<Locale, () => Promise<LocaleModule>> = {
  en: () => import("@faker-js/faker/locale/en"),
  de: () => import("@faker-js/faker/locale/de"),
  es: () => import("@faker-js/faker/locale/es"),
  fr: () => import("@faker-js/faker/locale/fr"),
  it: () => import("@faker-js/faker/locale/it"),
  ja: () => import("@faker-js/faker/locale/ja"),
  ko: () => import("@faker-js/faker/locale/ko"),
  nl: () => import("@faker-js/faker/locale/nl"),
  pl: () => import("@faker-js/faker/locale/pl"),
  pt_BR: () => import("@faker-js/faker/locale/pt_BR"),
  ru: () => import("@faker-js/faker/locale/ru"),
  sv: () => import("@faker-js/faker/locale/sv"),
  tr: () => import("@faker-js/faker/locale/tr"),
  zh_CN: () => import("@faker-js/faker/locale/zh_CN"),
  zh_TW: () => import("@faker-js/faker/locale/zh_TW"),
};
