CREATE TABLE "editor_extensions" (
	"id" text PRIMARY KEY NOT NULL,
	"user_id" text NOT NULL,
	"key" text NOT NULL,
	"version" text NOT NULL,
	"bytes" bigint NOT NULL,
	"source" text NOT NULL,
	"manifest" text NOT NULL,
	"translations" text,
	"metadata" text DEFAULT '{}' NOT NULL,
	"installed_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "editor_extensions" ADD CONSTRAINT "editor_extensions_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "editor_extensions_user_key" ON "editor_extensions" USING btree ("user_id","key");