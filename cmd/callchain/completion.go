package main

import (
	"context"
	"io"

	"github.com/alecthomas/kingpin/v2"
)

// completions are the scripts that make a shell ask callchain itself what may
// come next.
var completions = map[string]string{
	"bash": `_callchain() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <(compgen -W "$("${COMP_WORDS[0]}" --completion-bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _callchain callchain
`,
	"zsh": `#compdef callchain
_callchain() {
    local -a found
    found=("${(@f)$("${words[1]}" --completion-bash "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -a found
    [[ $compstate[nmatches] -gt 0 || $words[CURRENT] == -* ]] || _files
}
if [[ "$funcstack[1]" == _callchain ]]; then _callchain "$@"; else compdef _callchain callchain; fi
`,
	"fish": `function __callchain
    set -l words (commandline -opc)
    $words[1] --completion-bash $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c callchain -a '(__callchain)'
`,
}

func completionCommand(app *kingpin.Application, commands map[string]command) {
	c := app.Command("completion", "Print the script by which a shell completes callchain's words: source <(callchain completion bash).")
	shell := c.Arg("shell", "bash, zsh or fish.").Required().HintOptions("bash", "zsh", "fish").Enum("bash", "zsh", "fish")
	commands[c.FullCommand()] = func(_ context.Context, std streams) error {
		_, err := io.WriteString(std.out, completions[*shell])
		return err
	}
}
