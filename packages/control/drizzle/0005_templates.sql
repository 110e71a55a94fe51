CREATE TABLE "templates" (
	"name" text NOT NULL,
	"version" integer NOT NULL,
	"owner_id" text NOT NULL,
	"workspace_id" text NOT NULL,
	"snapshot_id" text NOT NULL,
	"definition" jsonb NOT NULL,
	"repository" text,
	"ref" text,
	"folder" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "templates_name_version_pk" PRIMARY KEY("name","version")
);
--> statement-breakpoint
ALTER TABLE "templates" ADD CONSTRAINT "templates_owner_id_users_id_fk" FOREIGN KEY ("owner_id") REFERENCES "public"."users"("id") ON DELETE restrict ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "templates_workspace" ON "templates" USING btree ("workspace_id");