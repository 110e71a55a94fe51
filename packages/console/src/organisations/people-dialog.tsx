import type { Account, Invitation, Organisation, OrganisationMember, OrganisationRole } from "@dormouse/contract";
import { useEffect, useState } from "preact/hooks";
import { api, messageOf } from "../api.ts";
import { Dialog } from "../dialog.tsx";
import { relativeTime } from "../time.ts";

const roleLabels: Readonly<Record<OrganisationRole, string>> = { owner: "Owner", admin: "Admin", member: "Member" };

/** Who is in an organisation and as what; links that let others in. */
export function PeopleDialog(props: { organisation: Organisation; me: Account; onClose: () => void }) {
  const { me } = props;
  const { id: organisation, name } = props.organisation;
  const [members, setMembers] = useState<readonly OrganisationMember[]>([]);
  const [invitations, setInvitations] = useState<readonly Invitation[]>([]);
  const [problem, setProblem] = useState<string>();
  // As the list has it: one's own role may change while this is open.
  const role = members.find(({ id }) => id === me.id)?.role ?? props.organisation.role;
  const isManager = role !== "member";

  const load = async () => {
    const known = (await api.organisations.members({ organisation })).members;
    setMembers(known);
    if (known.find(({ id }) => id === me.id)?.role === "member") return setInvitations([]);
    setInvitations((await api.organisations.invitations({ organisation })).invitations);
  };
  const act = async (work: () => Promise<unknown>) => {
    setProblem(undefined);
    try {
      await work();
    } catch (caught) {
      setProblem(messageOf(caught));
    }
    await load().catch((caught: unknown) => setProblem((before) => before ?? messageOf(caught)));
  };
  useEffect(() => void act(async () => {}), [organisation]);

  const onLeave = async () => {
    setProblem(undefined);
    try {
      await api.organisations.removeMember({ organisation, member: me.id });
      props.onClose();
    } catch (caught) {
      setProblem(messageOf(caught));
    }
  };

  return (
    <Dialog title={`People of ${name}`} onClose={props.onClose}>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <ul class="people" aria-label="Members">
        {members.map((member) => (
          <li key={member.id}>
            <div>
              {member.name}
              <p class="muted small">{member.email}</p>
            </div>
            {isManager ? (
              <select
                aria-label={`Role of ${member.email}`}
                value={member.role}
                onChange={({ currentTarget }) =>
                  void act(() =>
                    api.organisations.setRole({
                      ...{ organisation, member: member.id, role: currentTarget.value as OrganisationRole },
                    }),
                  )
                }
              >
                {(["owner", "admin", "member"] as const).map((each) => (
                  <option key={each} value={each}>
                    {roleLabels[each]}
                  </option>
                ))}
              </select>
            ) : (
              <span class="muted">{roleLabels[member.role]}</span>
            )}
            {isManager && member.id !== me.id && (
              <button
                class="button quiet danger"
                type="button"
                onClick={() => void act(() => api.organisations.removeMember({ organisation, member: member.id }))}
              >
                Remove<span class="hidden"> {member.email}</span>
              </button>
            )}
          </li>
        ))}
      </ul>
      {isManager && <Invite organisation={organisation} invitations={invitations} act={act} />}
      <div class="dialog-actions">
        <button class="button quiet danger" type="button" onClick={() => void onLeave()}>
          Leave
        </button>
        <button class="button" type="button" autofocus onClick={props.onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

function Invite(props: {
  organisation: string;
  invitations: readonly Invitation[];
  act: (work: () => Promise<unknown>) => Promise<void>;
}) {
  const { organisation, act } = props;
  const [url, setUrl] = useState<string>();
  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    const role = new FormData(event.currentTarget as HTMLFormElement).get("role") === "admin" ? "admin" : "member";
    void act(async () => setUrl((await api.organisations.invite({ organisation, role })).url));
  };
  return (
    <section class="form" aria-label="Invitations">
      <form class="invite" onSubmit={onSubmit}>
        <select name="role" aria-label="Role of who is invited">
          <option value="member">Member</option>
          <option value="admin">Admin</option>
        </select>
        <button class="button" type="submit">
          Make a link to join
        </button>
      </form>
      {url && (
        <div class="invite">
          <input
            aria-label="Link to join"
            readOnly
            value={url}
            onFocus={({ currentTarget }) => currentTarget.select()}
          />
          <button class="button" type="button" onClick={() => void navigator.clipboard?.writeText(url)}>
            Copy
          </button>
        </div>
      )}
      {url && <p class="muted small">For one person, for 7 days. It is shown only now.</p>}
      {props.invitations.length > 0 && (
        <ul class="people" aria-label="Open invitations">
          {props.invitations.map(({ id, role, inviter, expiresAt }) => (
            <li key={id}>
              <div>
                {roleLabels[role]}
                <p class="muted small">
                  by {inviter} · ends {relativeTime(expiresAt, Date.now())}
                </p>
              </div>
              <button
                class="button quiet danger"
                type="button"
                onClick={() => void act(() => api.organisations.revokeInvitation({ organisation, id }))}
              >
                Revoke<span class="hidden"> the invitation of {inviter}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
