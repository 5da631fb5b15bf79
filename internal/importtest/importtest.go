package importtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is callchain's import path.
const module = "callchain"

// A folder is one row of the table. The first row that fits a package counts.
// Patterns are paths below the module; "x/..." is x and everything below it.
type folder struct {
	pattern string
	may     []string // packages of callchain that it may import; its own folders if the pattern ends in "/..."
	pure    bool     // neither clock nor the world, see impure and clock
}

var house = []folder{
	{pattern: "config/..."},

	{pattern: "routing/...", may: []string{"config"}, pure: true},

	// The state machine. Its subfolders do the I/O.
	{pattern: "escalation", may: []string{"routing/...", "config"}, pure: true},
	// How records are written: it knows none of them, and no store.
	{pattern: "escalation/record"},
	// The contract and its implementations know records, not incidents.
	{pattern: "escalation/store/..."},
	// What has to be done later: bytes on this machine's disk.
	{pattern: "escalation/journal"},
	// The engine gets its stores and channels from main: it knows their contracts only.
	{pattern: "escalation/engine/...", may: []string{"escalation", "escalation/journal", "escalation/record", "escalation/store", "notifiers", "routing/...", "config", "internal/fault"}},

	// The message model speaks in the words of the configuration and nothing else.
	{pattern: "notifiers", may: []string{"config"}},
	// One channel each; none knows another.
	{pattern: "notifiers/slack/...", may: []string{"notifiers", "config"}},
	{pattern: "notifiers/email/...", may: []string{"notifiers", "config", "internal/acklink"}},
	{pattern: "notifiers/webhook/...", may: []string{"notifiers", "config"}},
	{pattern: "notifiers/inbox/...", may: []string{"notifiers", "config", "internal/acklink"}},
	{pattern: "notifiers/notifierstest/...", may: []string{"notifiers", "config"}},

	// Leaves that two floors share: the signed links and Alertmanager's payload.
	{pattern: "internal/acklink/...", may: []string{"config"}},
	{pattern: "internal/webhook/...", may: []string{"routing", "config"}},

	{pattern: "internal/server/...", may: []string{
		"escalation/...", "notifiers/...", "routing/...", "config",
		"internal/acklink", "internal/webhook", "internal/fault",
	}},
	// Places at which a test ends the process; nothing at all in a release.
	{pattern: "internal/fault"},

	// What "callchain demo" sets up around a daemon that main wires as ever.
	{pattern: "internal/demo/...", may: []string{
		"notifiers", "notifiers/inbox", "routing/...", "config", "internal/webhook",
	}},

	// What Alertmanager says when it is asked, in the words of the core.
	{pattern: "internal/alertmanager/...", may: []string{"escalation", "routing"}},

	// What "check-config --online" asks the far sides that main wires.
	{pattern: "internal/online/...", may: []string{
		"notifiers", "notifiers/slack", "notifiers/email", "escalation/store/...", "config",
	}},

	// A call to the outside that main wires.
	{pattern: "internal/heartbeat/..."},

	// main wires all of it.
	{pattern: "cmd/...", may: []string{
		"internal/server/...", "internal/demo/...", "internal/online/...", "escalation/...", "notifiers/...", "routing/...", "config/...",
		"internal/acklink", "internal/alertmanager", "internal/heartbeat", "internal/webhook", "deploy/...",
	}},
	// Examples and dashboards; a package there embeds them.
	{pattern: "deploy/..."},
	{pattern: "internal/importtest"},
	{pattern: "internal/testbench/..."},
	{pattern: "internal/bench"}, // benchmarks alone
}

// libraries says which folders may import an outside library, in tests too.
// A library that is not here may be imported by everybody; the longest prefix
// that fits counts, and nil means nobody.
var libraries = map[string][]string{
	"github.com/slack-go/slack":    {"notifiers/slack/..."},
	"github.com/gorilla/websocket": {"notifiers/slack/...", "internal/testbench"},
	"github.com/wneessen/go-mail":  {"notifiers/email/..."},
	"go.etcd.io/bbolt":             {"escalation/store/bolt/..."},
	"github.com/redis/go-redis":    {"escalation/store/redis/..."},

	// What is stored has one place to be read and written.
	"github.com/fxamacker/cbor": {"escalation/record"},

	// Of Alertmanager only what is small: its config and notify packages pull in hundreds of others.
	"github.com/prometheus/alertmanager":              nil,
	"github.com/prometheus/alertmanager/pkg/labels":   {"..."},
	"github.com/prometheus/alertmanager/matcher":      {"..."},
	"github.com/prometheus/alertmanager/timeinterval": {"..."},
	"github.com/prometheus/alertmanager/template":     {"..."},
}

// helpers are the packages that only tests may import.
var helpers = []string{"internal/testbench/...", "internal/importtest", "escalation/store/storetest/...", "notifiers/notifierstest/..."}

// impure is what a pure package must not import. "x/" is everything below x.
var impure = []string{
	"net", "net/http", "net/http/", "net/rpc", "net/smtp", // net/url and net/mail only parse
	"os", "os/", "syscall", "io/ioutil",
	"log", "log/",
	"database/", "math/rand", "math/rand/", "crypto/rand",
	"testing/synctest",
}

// clock is what of package time a pure package must not use: all that reads or
// waits for the wall clock, or depends on the machine's own zone.
var clock = []string{
	"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local",
}

// Check reads every Go file of the module in fsys and returns what breaks the
// table, one line each, in the order of the files.
func Check(fsys fs.FS) ([]string, error) {
	var broken []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && name != "." && (base == "testdata" || base == "node_modules" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
			return fs.SkipDir
		}
		if d.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		found, err := checkFile(name, src)
		broken = append(broken, found...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the module's files: %w", err)
	}
	return broken, nil
}

func checkFile(name string, src []byte) ([]string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var broken []string
	report := func(pos token.Pos, format string, args ...any) {
		broken = append(broken, fmt.Sprintf("%s: %s", files.Position(pos), fmt.Sprintf(format, args...)))
	}

	pkg := path.Dir(name)
	i := slices.IndexFunc(house, func(f folder) bool { return matches(f.pattern, pkg) })
	if i < 0 {
		report(file.Package, "package %s is not in the table of internal/importtest: add it, and say what it may import", pkg)
		return broken, nil
	}
	row, isTest := house[i], strings.HasSuffix(name, "_test.go")
	timeName := ""
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: import %s: %w", files.Position(spec.Pos()), spec.Path.Value, err)
		}
		if imported == "time" {
			timeName = "time"
			if spec.Name != nil {
				timeName = spec.Name.Name
			}
			if row.pure && !isTest && timeName == "." {
				report(spec.Pos(), "%s is pure and must not import time into its own names", pkg)
			}
		}
		if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
			// Tests may look at everything: what they prove is put together from all floors.
			switch {
			case isTest || matches(row.pattern, ours) && !matchesAny(helpers, ours):
			case matchesAny(helpers, ours) && !matchesAny(helpers, pkg):
				report(spec.Pos(), "%s is for tests only", imported)
			case !matchesAny(row.may, ours) && !matches(row.pattern, ours):
				report(spec.Pos(), "%s must not import %s: arrows run downwards only", pkg, imported)
			}
			continue
		}
		if allowed, limited := wrapped(imported); limited && !matchesAny(allowed, pkg) {
			if len(allowed) == 0 {
				report(spec.Pos(), "nobody imports %s", imported)
			} else if !isTest {
				report(spec.Pos(), "%s must not import %s: only %s does", pkg, imported, strings.Join(allowed, ", "))
			}
		}
		if row.pure && !isTest && isImpure(imported) {
			report(spec.Pos(), "%s is pure and must not import %s", pkg, imported)
		}
	}
	if !row.pure || isTest || timeName == "" {
		return broken, nil
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(clock, sel.Sel.Name) {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == timeName {
				report(sel.Pos(), "%s is pure and must not use time.%s: the instant is an argument", pkg, sel.Sel.Name)
			}
		}
		return true
	})
	return broken, nil
}

// wrapped returns the folders that may import a library, and whether it is limited at all.
func wrapped(imported string) (allowed []string, limited bool) {
	longest := ""
	for prefix, folders := range libraries {
		if (imported == prefix || strings.HasPrefix(imported, prefix+"/")) && len(prefix) > len(longest) {
			longest, allowed, limited = prefix, folders, true
		}
	}
	return allowed, limited
}

func isImpure(imported string) bool {
	return slices.ContainsFunc(impure, func(p string) bool {
		return imported == p || strings.HasSuffix(p, "/") && strings.HasPrefix(imported, p)
	})
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

// matches tells whether a package is one that a pattern names.
func matches(pattern, pkg string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == base || strings.HasPrefix(pkg, base+"/")
	}
	return pkg == pattern
}
