CREATE TABLE "prebuilds" (
	"id" text PRIMARY KEY NOT NULL,
	"owner_id" text NOT NULL,
	"repository" text NOT NULL,
	"ref" text,
	"devcontainer" text,
	"key" text NOT NULL,
	"parent_id" text,
	"triggers" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"ttl_seconds" integer,
	"wanted" text,
	"wanted_at" timestamp (3) with time zone,
	"building" text,
	"workspace_id" text,
	"commit" text,
	"built_at" timestamp (3) with time zone,
	"problem" text,
	"ended_at" timestamp (3) with time zone,
	"refs" jsonb,
	"looked_at" timestamp (3) with time zone,
	"next_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "prebuilds_key_unique" UNIQUE("key")
);
--> statement-breakpoint
ALTER TABLE "prebuilds" ADD CONSTRAINT "prebuilds_owner_id_users_id_fk" FOREIGN KEY ("owner_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "prebuilds" ADD CONSTRAINT "prebuilds_parent_id_prebuilds_id_fk" FOREIGN KEY ("parent_id") REFERENCES "public"."prebuilds"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "prebuilds_repository" ON "prebuilds" USING btree ("owner_id","repository");