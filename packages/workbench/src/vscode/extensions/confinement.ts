import { MainThreadCommands } from "@codingame/monaco-vscode-extensions-service-override/vscode/vs/workbench/api/browser/mainThreadCommands";
import { WebviewElement } from "@codingame/monaco-vscode-view-common-service-override/vscode/vs/workbench/contrib/webview/browser/webviewElement";

/** The server installs nothing of these publishers, so what has one came with the page. */
const ownPublishers = new Set(["vscode", "dormouse"]);

/** What of a webview is looked at; its types hide it. */
interface WebviewInside {
  extension: { id: { value: string } } | undefined;
  doUpdateContent(content: { options: { allowScripts?: boolean; allowForms?: boolean } }): void;
}

/** What of the way to commands is looked at. */
interface CommandsInside {
  $executeCommand(id: string, args: unknown, retry: boolean): Promise<unknown>;
}

/**
 * Takes from installed extensions what would let them act as who looks at the page. Their code runs in a frame without an
 * origin (see the gateway's headers), and reaches the page by VS Code's interface for extensions alone. Two parts of that
 * lead further: webviews, which have the page's origin, and commands, of which Dormouse's own call the API.
 */
export function confineExtensions(): void {
  const webview = WebviewElement.prototype as unknown as WebviewInside;
  const { doUpdateContent } = webview;
  webview.doUpdateContent = function (this: WebviewInside, content) {
    const publisher = this.extension?.id.value.split(".")[0]?.toLowerCase();
    const isOwn = publisher === undefined || ownPublishers.has(publisher);
    const options = isOwn ? content.options : { ...content.options, allowScripts: false, allowForms: false };
    doUpdateContent.call(this, { ...content, options });
  };

  const commands = MainThreadCommands.prototype as unknown as CommandsInside;
  const { $executeCommand } = commands;
  commands.$executeCommand = async function (this: CommandsInside, id, args, retry) {
    // The page's own code runs its commands itself, and does not come by here.
    if (id.startsWith("dormouse.")) throw new Error(`${id} is for people: extensions cannot run it`);
    return $executeCommand.call(this, id, args, retry);
  };
}
