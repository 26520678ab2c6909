/** Jest runs the TypeScript files as they are: Node strips the types, nothing is transformed. */
export default {
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  extensionsToTreatAsEsm: [".ts"],
  transform: {},
  testEnvironment: "node",
  reporters: ["default", "<rootDir>/scripts/test-reporter.ts"],
  testTimeout: 120_000,
  maxWorkers: 2,
  // Modules that Node has loaded for a file stay in the worker's heap: with those of 60 files a test took ten times as long.
  workerIdleMemoryLimit: "300MB",
};
