import tab from "@bomb.sh/tab";
import { Argument, type Command } from "commander";

export default function completion(command: Command): void {
  command
    .addArgument(new Argument("<shell>", "your shell").choices(["bash", "zsh", "fish"]))
    .addHelpText(
      "after",
      `
bash: add to ~/.bashrc              source <(dormouse completion bash)
zsh:  add to ~/.zshrc               source <(dormouse completion zsh)
fish: run once                      dormouse completion fish > ~/.config/fish/completions/dormouse.fish`,
    )
    .action((shell: string) => tab.setup("dormouse", "dormouse", shell));
}
