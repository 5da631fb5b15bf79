// Package seed fixes rapid's seed where continuous integration runs (CI is set):
// there a change is judged by itself, and not by whether this run's dice found
// something old. Elsewhere, and with -rapid.seed, the dice fall as ever.
//
// Tests that use rapid import it for its effect.
package seed

import (
	"flag"
	"os"

	_ "pgregory.net/rapid" // defines the flag first
)

func init() {
	if os.Getenv("CI") == "" {
		return
	}
	if err := flag.Set("rapid.seed", "1"); err != nil {
		panic(err)
	}
}
