CREATE TABLE "builds" (
	"key" text PRIMARY KEY NOT NULL,
	"builder_id" text NOT NULL,
	"snapshot_id" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"used_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "recent_definitions" (
	"key" text PRIMARY KEY NOT NULL,
	"definition" jsonb NOT NULL,
	"folder" text NOT NULL,
	"resolved_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "definition" jsonb;--> statement-breakpoint
CREATE INDEX "builds_builder" ON "builds" USING btree ("builder_id");