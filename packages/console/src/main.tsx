import { render } from "preact";
import { JoinPage } from "./organisations/join.tsx";
import { SignInPage } from "./sign-in.tsx";
import "./style.css";
import { WorkspacesPage } from "./workspaces/page.tsx";

const pages: Readonly<Record<string, typeof WorkspacesPage>> = { "/signin": SignInPage, "/join": JoinPage };
const Page = pages[location.pathname.replace(/\/$/, "")] ?? WorkspacesPage;
render(<Page />, document.body);
