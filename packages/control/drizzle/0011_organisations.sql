ALTER TABLE "organizations" RENAME TO "organisations";--> statement-breakpoint
ALTER TABLE "organisations" DROP CONSTRAINT "organizations_slug_unique";--> statement-breakpoint
UPDATE "organisations" SET "name" = trim(both '-' from left(regexp_replace(lower("slug"), '[^a-z0-9]+', '-', 'g'), 50));--> statement-breakpoint
-- What is no name of an organisation, or is one twice, is told apart by the beginning of its id.
UPDATE "organisations" o SET "name" = trim(both '-' from o."name" || '-' || substr(md5(o."id"), 1, 8))
WHERE o."name" IN ('', 'personal') OR EXISTS (SELECT FROM "organisations" p WHERE p."name" = o."name" AND p."id" < o."id");--> statement-breakpoint
ALTER TABLE "organisations" DROP COLUMN "slug", DROP COLUMN "logo", DROP COLUMN "metadata";--> statement-breakpoint
ALTER TABLE "organisations" ADD COLUMN "personal_of" text, ADD COLUMN "max_workspaces" integer, ADD COLUMN "max_snapshot_bytes" bigint;--> statement-breakpoint
ALTER TABLE "organisations" ADD CONSTRAINT "organisations_personal_of_unique" UNIQUE("personal_of");--> statement-breakpoint
ALTER TABLE "organisations" ADD CONSTRAINT "organisations_personal_of_users_id_fk" FOREIGN KEY ("personal_of") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "organisations_name" ON "organisations" USING btree ("name") WHERE personal_of is null;--> statement-breakpoint
ALTER TABLE "members" RENAME COLUMN "organization_id" TO "organisation_id";--> statement-breakpoint
ALTER TABLE "members" RENAME CONSTRAINT "members_organization_id_organizations_id_fk" TO "members_organisation_id_organisations_id_fk";--> statement-breakpoint
DROP INDEX "members_once";--> statement-breakpoint
ALTER TABLE "members" DROP COLUMN "id";--> statement-breakpoint
ALTER TABLE "members" ADD CONSTRAINT "members_organisation_id_user_id_pk" PRIMARY KEY("organisation_id","user_id");--> statement-breakpoint
ALTER TABLE "members" ALTER COLUMN "role" DROP DEFAULT;--> statement-breakpoint
UPDATE "members" SET "role" = CASE WHEN "role" LIKE '%owner%' THEN 'owner' WHEN "role" LIKE '%admin%' THEN 'admin' ELSE 'member' END;--> statement-breakpoint
-- They were to e-mail addresses; nothing had been sent there.
DROP TABLE "invitations";--> statement-breakpoint
CREATE TABLE "invitations" (
	"id" text PRIMARY KEY NOT NULL,
	"organisation_id" text NOT NULL,
	"inviter_id" text NOT NULL,
	"role" text NOT NULL,
	"hash" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "invitations_hash_unique" UNIQUE("hash")
);
--> statement-breakpoint
ALTER TABLE "invitations" ADD CONSTRAINT "invitations_organisation_id_organisations_id_fk" FOREIGN KEY ("organisation_id") REFERENCES "public"."organisations"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "invitations" ADD CONSTRAINT "invitations_inviter_id_users_id_fk" FOREIGN KEY ("inviter_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "invitations_organisation" ON "invitations" USING btree ("organisation_id");--> statement-breakpoint
ALTER TABLE "sessions" DROP COLUMN "active_organization_id";--> statement-breakpoint
-- Everybody's own, as `createId` writes ids.
INSERT INTO "organisations" ("id", "name", "personal_of") SELECT 'org-' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 20), 'personal', "id" FROM "users";--> statement-breakpoint
INSERT INTO "members" ("organisation_id", "user_id", "role") SELECT "id", "personal_of", 'owner' FROM "organisations" WHERE "personal_of" IS NOT NULL;--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "organisation_id" text;--> statement-breakpoint
UPDATE "workspaces" SET "organisation_id" = o."id" FROM "organisations" o WHERE o."personal_of" = "owner_id";--> statement-breakpoint
ALTER TABLE "workspaces" ALTER COLUMN "organisation_id" SET NOT NULL;--> statement-breakpoint
ALTER TABLE "workspaces" ADD CONSTRAINT "workspaces_organisation_id_organisations_id_fk" FOREIGN KEY ("organisation_id") REFERENCES "public"."organisations"("id") ON DELETE restrict ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "workspaces_organisation" ON "workspaces" USING btree ("organisation_id");--> statement-breakpoint
ALTER TABLE "templates" ADD COLUMN "organisation_id" text;--> statement-breakpoint
UPDATE "templates" SET "organisation_id" = o."id" FROM "organisations" o WHERE o."personal_of" = "owner_id";--> statement-breakpoint
ALTER TABLE "templates" ALTER COLUMN "organisation_id" SET NOT NULL;--> statement-breakpoint
ALTER TABLE "templates" ADD CONSTRAINT "templates_organisation_id_organisations_id_fk" FOREIGN KEY ("organisation_id") REFERENCES "public"."organisations"("id") ON DELETE restrict ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "prebuilds" ADD COLUMN "organisation_id" text;--> statement-breakpoint
UPDATE "prebuilds" SET "organisation_id" = o."id", "key" = '["' || o."id" || '",' || substr("key", 2) FROM "organisations" o WHERE o."personal_of" = "owner_id";--> statement-breakpoint
ALTER TABLE "prebuilds" ALTER COLUMN "organisation_id" SET NOT NULL;--> statement-breakpoint
ALTER TABLE "prebuilds" ADD CONSTRAINT "prebuilds_organisation_id_organisations_id_fk" FOREIGN KEY ("organisation_id") REFERENCES "public"."organisations"("id") ON DELETE restrict ON UPDATE no action;--> statement-breakpoint
UPDATE "recent_definitions" SET "key" = '["' || o."id" || '",' || substr("key", 2) FROM "organisations" o WHERE o."personal_of" = "key"::jsonb ->> 0;--> statement-breakpoint
ALTER TABLE "usage" ADD COLUMN "organisation_id" text DEFAULT '' NOT NULL;--> statement-breakpoint
UPDATE "usage" SET "organisation_id" = o."id" FROM "organisations" o WHERE o."personal_of" = "owner_id";--> statement-breakpoint
ALTER TABLE "usage" ALTER COLUMN "organisation_id" DROP DEFAULT;--> statement-breakpoint
CREATE INDEX "usage_organisation" ON "usage" USING btree ("organisation_id","started_at");
--> statement-breakpoint
ALTER TABLE "api_keys" ADD COLUMN "organisation_id" text;--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_organisation_id_organisations_id_fk" FOREIGN KEY ("organisation_id") REFERENCES "public"."organisations"("id") ON DELETE cascade ON UPDATE no action;
