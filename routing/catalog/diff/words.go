package diff

import (
	"fmt"
	"strings"

	"callchain/config"
)

// word is a state as people say it.
func word(s config.State) string { return strings.ReplaceAll(string(s), "_", " ") }

// inState is "state active", or nothing for none.
func inState(s config.State) string {
	if s == none {
		return ""
	}
	return "state " + word(s)
}

func spoken(r config.Role) string { return strings.ReplaceAll(string(r), "_", " ") }

func spokenAll(roles []config.Role) string {
	out := make([]string, len(roles))
	for i, r := range roles {
		out[i] = spoken(r)
	}
	return listed(out)
}

// listed is "a", "a and b", "a, b and c".
func listed(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
