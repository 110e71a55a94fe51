export { openLocalRepository } from "./local-repository/open.ts";
