import { type Organisation, personalOrganisation } from "@dormouse/contract";

/** What an organisation is called on the page. */
export const organisationLabel = (name: string) => (name === personalOrganisation ? "Personal" : name);

/** Chooses whose workspaces are shown. */
export function OrganisationSwitcher(props: {
  organisations: readonly Organisation[];
  chosen: Organisation | undefined;
  onChoose: (name: string | undefined) => void;
}) {
  return (
    <select
      aria-label="Organisation"
      value={props.chosen?.name ?? ""}
      onChange={({ currentTarget }) => props.onChoose(currentTarget.value || undefined)}
    >
      <option value="">All of mine</option>
      {props.organisations.map(({ id, name }) => (
        <option key={id} value={name}>
          {organisationLabel(name)}
        </option>
      ))}
    </select>
  );
}
