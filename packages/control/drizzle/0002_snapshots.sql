CREATE TABLE "usage" (
	"id" bigserial PRIMARY KEY NOT NULL,
	"kind" text NOT NULL,
	"workspace_id" text NOT NULL,
	"owner_id" text NOT NULL,
	"generation" integer NOT NULL,
	"started_at" timestamp (3) with time zone NOT NULL,
	"ended_at" timestamp (3) with time zone NOT NULL,
	"vcpus" integer NOT NULL,
	"memory_mib" integer NOT NULL,
	"snapshot_bytes" bigint NOT NULL
);
--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "hibernate_after_seconds" integer;--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "restore_snapshot" text;--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "source_workspace" text;--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "source_snapshot" text;--> statement-breakpoint
CREATE UNIQUE INDEX "usage_once" ON "usage" USING btree ("kind","workspace_id","generation","started_at");--> statement-breakpoint
CREATE INDEX "usage_owner" ON "usage" USING btree ("owner_id","started_at");