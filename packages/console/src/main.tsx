import { render } from "preact";
import { SignInPage } from "./sign-in.tsx";
import "./style.css";
import { WorkspacesPage } from "./workspaces/page.tsx";

const isSignIn = location.pathname.replace(/\/$/, "").endsWith("/signin");
render(isSignIn ? <SignInPage /> : <WorkspacesPage />, document.body);
