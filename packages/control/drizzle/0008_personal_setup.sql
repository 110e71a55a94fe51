CREATE TABLE "personal_setups" (
	"user_id" text PRIMARY KEY NOT NULL,
	"dotfiles" jsonb,
	"shell" text,
	"git_name" text,
	"git_email" text,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "workspaces" ADD COLUMN "personal_setup" text;--> statement-breakpoint
ALTER TABLE "personal_setups" ADD CONSTRAINT "personal_setups_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
-- Definitions that were written before these were a part of them.
CREATE FUNCTION pg_temp.with_later_parts(definition jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT '{"attached": null, "vscode": {"settings": {}, "extensions": []}}'::jsonb || definition || jsonb_build_object('ports', jsonb_build_object(
		'forwardPorts', (SELECT coalesce(jsonb_agg(port -> 'port'), '[]') FROM jsonb_array_elements(definition -> 'ports') AS port),
		'appPort', '[]'::jsonb,
		'portsAttributes', (SELECT coalesce(jsonb_object_agg(port ->> 'port', jsonb_build_object('label', port -> 'label')) FILTER (WHERE port ->> 'label' IS NOT NULL), '{}') FROM jsonb_array_elements(definition -> 'ports') AS port),
		'otherPortsAttributes', '{}'::jsonb,
		'visibility', '{}'::jsonb))
$$;--> statement-breakpoint
UPDATE "workspaces" SET "definition" = pg_temp.with_later_parts("definition") WHERE jsonb_typeof("definition" -> 'ports') = 'array';--> statement-breakpoint
UPDATE "templates" SET "definition" = pg_temp.with_later_parts("definition") WHERE jsonb_typeof("definition" -> 'ports') = 'array';--> statement-breakpoint
DELETE FROM "recent_definitions";
