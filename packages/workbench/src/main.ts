import { openPage } from "./page/open-page.ts";
import { confineRequests } from "./page/own-requests.ts";

confineRequests();
void openPage();
