ALTER TABLE "workspaces" ADD COLUMN "delete_after_seconds" integer;--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "asleep_since" timestamp (3) with time zone;--> statement-breakpoint
UPDATE "workspaces" SET "asleep_since" = now() WHERE "state" = 'hibernated';