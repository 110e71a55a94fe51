import { openPage } from "./page/open-page.ts";

void openPage();
