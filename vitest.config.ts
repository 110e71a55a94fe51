import { defineConfig } from "vitest/config";

// Projects, run one after the other by scripts/test.ts. What starts machines, namespaces or browsers runs one file
// at a time: two cores do not emulate two machines well.
const exclude = ["**/node_modules/**", "**/dist/**"];

// Emulated machines, a software-rendered browser and real time-outs share two cores with whatever else runs there. A test
// that needs its second attempt is named by the reporter, to be looked at; one that fails twice is broken.
const retry = 1;
export default defineConfig({
  test: {
    passWithNoTests: false,
    projects: [
      {
        test: {
          name: "unit",
          include: ["packages/**/*.test.ts", "scripts/**/*.test.ts"],
          exclude: [...exclude, "**/*.integration.test.ts", "**/*.browser.test.ts", "**/*.long.test.ts"],
          retry,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "integration",
          include: ["packages/**/*.integration.test.ts"],
          exclude,
          fileParallelism: false,
          retry,
          testTimeout: 180_000,
          hookTimeout: 600_000,
        },
      },
      {
        test: {
          name: "system",
          include: ["tests/**/*.test.ts", "packages/**/*.browser.test.ts"],
          exclude: [...exclude, "**/*.long.test.ts"],
          fileParallelism: false,
          retry,
          testTimeout: 300_000,
          hookTimeout: 600_000,
        },
      },
      {
        // `npm run test:long`: promises that take hours to try as often as they should be.
        test: {
          name: "long",
          include: ["packages/**/*.long.test.ts", "tests/**/*.long.test.ts"],
          exclude,
          fileParallelism: false,
          retry: 0,
          testTimeout: 7_200_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
