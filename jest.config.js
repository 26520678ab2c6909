/** Jest runs the TypeScript files as they are: Node strips the types, nothing is transformed. */
export default {
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  extensionsToTreatAsEsm: [".ts"],
  transform: {},
  testEnvironment: "node",
  reporters: ["default", "<rootDir>/scripts/test-reporter.ts"],
  testTimeout: 30_000,
  maxWorkers: 2,
};
