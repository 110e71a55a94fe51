import { defineConfig } from "drizzle-kit";

/** `npx drizzle-kit generate --name WHAT` in this folder writes the migration for what changed in the schema. */
export default defineConfig({ dialect: "postgresql", schema: "./src/database/schema.ts", out: "./drizzle" });
