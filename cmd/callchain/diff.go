package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog/diff"
)

func diffCommand(all *kingpin.CmdClause, commands map[string]command) {
	c := all.Command("diff", "Hold a change of the catalog against the ownership policy: launches, transitions, transfers, deletions, and who must agree.")
	output := outputFlag(c, "text", "md", "json")
	require := c.Flag("require-agreed", "Every team that must agree must stand in the new entry's verified.by.").Bool()
	file := c.Flag("config.file", "A configuration: the new catalog must fit it too, and --alerts are routed by it.").PlaceHolder("FILE").String()
	expand := expandFlag(c)
	alerts := c.Flag("alerts", `Recorded webhook payloads, one JSON object a line: tell who is paged more or less than before. May be given several times; "-" is standard input.`).PlaceHolder("FILE").Strings()
	at := c.Flag("at", "Compare as of another instant, like 2026-11-20T22:00:00Z.").String()
	const form = "A file, a folder (its *.yml and *.yaml), a pattern, several of them joined by commas, or git:REVISION:PATH."
	from := c.Arg("OLD", "The catalog as it was. "+form+" An empty one has no launches.").Required().String()
	to := c.Arg("NEW", "The catalog as it would be.").Required().String()
	commands[c.FullCommand()] = func(ctx context.Context, std streams) error {
		now, err := instant(*at)
		if err != nil {
			return err
		}
		before, after, err := bothSides(ctx, *from, *to)
		if err != nil {
			return err
		}
		var cfg *config.Config
		if *file != "" {
			var ps config.Problems
			if cfg, ps = config.Load(*file, config.Options{ExpandEnv: *expand, NoSecrets: true}); ps.Err() != nil {
				printProblems(std.err, ps.Errors())
				return errors.New("the configuration is refused, see above")
			}
		}
		r := diff.Compare(before, after, diff.Options{Now: now, RequireAgreed: *require})
		if err := diffRoutes(r, before, after, cfg, *alerts, std, now); err != nil {
			return err
		}
		switch *output {
		case "json":
			err = printJSON(std.out, r)
		case "md":
			_, err = fmt.Fprint(std.out, r.Markdown())
		default:
			_, err = fmt.Fprint(std.out, r.Text())
		}
		if err != nil {
			return fmt.Errorf("print the comparison: %w", err)
		}
		if !r.OK {
			return status{code: bad}
		}
		return nil
	}
}

// diffRoutes adds what only routing can tell: references of the configuration,
// chains, recorded alerts.
func diffRoutes(r *diff.Report, before, after *diff.Side, cfg *config.Config, alerts []string, std streams, now time.Time) error {
	var was, is *routing.Router
	var ps, more config.Problems
	var wait sync.WaitGroup
	wait.Go(func() { was, ps = before.Router(cfg) })
	is, more = after.Router(cfg)
	wait.Wait()
	if was == nil {
		return fmt.Errorf("the configuration cannot be used with OLD: %w", ps.Err())
	}
	if is == nil {
		return fmt.Errorf("the configuration cannot be used with NEW: %w", more.Err())
	}
	if cfg != nil {
		r.Fit(ps, more)
	}
	r.Chains(before, after, was, is, now)
	if len(alerts) == 0 {
		return nil
	}
	replayer := diff.NewReplayer(before, after, was, is)
	for _, name := range alerts {
		if err := payloads(name, std, func(w routing.Webhook) { replayer.Add(w, now) }); err != nil {
			return err
		}
	}
	r.Replayed(replayer)
	return nil
}

// bothSides reads the two catalogs at once: of a large one, reading is the most
// of the work.
func bothSides(ctx context.Context, from, to string) (before, after *diff.Side, err error) {
	var failed error
	var wait sync.WaitGroup
	wait.Go(func() { before, failed = catalogSide(ctx, from) })
	after, err = catalogSide(ctx, to)
	wait.Wait()
	switch {
	case failed != nil:
		return nil, nil, fmt.Errorf("read OLD: %w", failed)
	case err != nil:
		return nil, nil, fmt.Errorf("read NEW: %w", err)
	}
	return before, after, nil
}

// catalogSide reads the files that one argument names.
func catalogSide(ctx context.Context, arg string) (*diff.Side, error) {
	// A name may have a comma in it.
	if _, err := os.Stat(arg); err == nil {
		files, err := catalogPart(ctx, arg)
		return diff.Read(files), err
	}
	var files []config.File
	for part := range strings.SplitSeq(arg, ",") {
		found, err := catalogPart(ctx, part)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if !slices.ContainsFunc(files, func(g config.File) bool { return g.Name == f.Name }) {
				files = append(files, f)
			}
		}
	}
	return diff.Read(files), nil
}

func catalogPart(ctx context.Context, part string) ([]config.File, error) {
	info, err := os.Stat(part)
	var paths []string
	switch {
	case part == "":
		return nil, errors.New("an empty name; name a file or a folder, or /dev/null for no catalog at all")
	case err == nil && info.IsDir():
		entries, err := os.ReadDir(part)
		if err != nil {
			return nil, fmt.Errorf("read the folder: %w", err)
		}
		for _, e := range entries {
			if path := filepath.Join(part, e.Name()); isYAML(path) && !isFolder(path) {
				paths = append(paths, path)
			}
		}
	case err == nil:
		paths = []string{part}
	case strings.HasPrefix(part, "git:"):
		return gitFiles(ctx, strings.TrimPrefix(part, "git:"))
	case strings.ContainsAny(part, `*?[`):
		found, err := filepath.Glob(part)
		if err != nil {
			return nil, fmt.Errorf("%q is not a pattern that can be matched: %w", part, err)
		}
		paths = slices.DeleteFunc(found, isFolder)
		if len(paths) == 0 {
			return nil, fmt.Errorf("%q matches no file; correct the pattern, or name /dev/null for no catalog at all", part)
		}
	default:
		return nil, fmt.Errorf("%w; correct the path, or name /dev/null for no catalog at all", err)
	}
	var files []config.File
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the catalog file: %w", err)
		}
		files = append(files, config.File{Name: filepath.Clean(path), Data: data})
	}
	return files, nil
}

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".yaml")
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// gitTimeout is how long all of a revision may take; a partial clone fetches what
// it lacks.
const gitTimeout = time.Minute

// gitFiles reads a file or a folder of a revision, named as git does it:
// REVISION:PATH, with the path counted from the top of the repository.
func gitFiles(ctx context.Context, spec string) ([]config.File, error) {
	rev, path, ok := strings.Cut(spec, ":")
	if !ok || rev == "" {
		return nil, fmt.Errorf("git:%s: want git:REVISION:PATH, like git:origin/main:catalog", spec)
	}
	if strings.HasPrefix(rev, "-") {
		return nil, fmt.Errorf("git:%s: a revision does not begin with a dash", spec)
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, fmt.Errorf("git:%s: git is not installed here; install it, or give the files themselves", spec)
	}
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	commit, err := git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{commit}")
	if err != nil {
		return nil, fmt.Errorf("git:%s: no revision %q here%w; fetch it first (in CI: with the whole history), or correct the name", spec, rev, because(err))
	}
	path = strings.TrimSuffix(path, "/")
	if path == "." {
		path = ""
	}
	object := strings.TrimSpace(string(commit)) + ":" + path
	kind, err := git(ctx, "cat-file", "-t", object)
	if err != nil {
		return nil, fmt.Errorf("git:%s: revision %s has no %q; the path counts from the top of the repository; where there was no catalog yet, name /dev/null", spec, rev, path)
	}
	if strings.TrimSpace(string(kind)) == "blob" {
		data, err := git(ctx, "cat-file", "blob", object)
		if err != nil {
			return nil, fmt.Errorf("git:%s: read it%w", spec, because(err))
		}
		return []config.File{{Name: "git:" + rev + ":" + path, Data: data}}, nil
	}
	list, err := git(ctx, "ls-tree", "-z", object)
	if err != nil {
		return nil, fmt.Errorf("git:%s: list it%w", spec, because(err))
	}
	var files []config.File
	for entry := range strings.SplitSeq(string(list), "\x00") {
		about, name, _ := strings.Cut(entry, "\t")
		fields := strings.Fields(about) // mode, type, object
		if len(fields) != 3 || fields[1] != "blob" || !isYAML(name) {
			continue
		}
		full := name
		if path != "" {
			full = path + "/" + name
		}
		if fields[0] == "120000" {
			return nil, fmt.Errorf("git:%s: %s is a symbolic link, which is not followed; name the file that it points to", spec, full)
		}
		data, err := git(ctx, "cat-file", "blob", fields[2])
		if err != nil {
			return nil, fmt.Errorf("git:%s: read %s%w", spec, full, because(err))
		}
		files = append(files, config.File{Name: "git:" + rev + ":" + full, Data: data})
	}
	return files, nil
}

// because is what git said, if anything, to follow a sentence.
func because(err error) error {
	if err == nil || err.Error() == "" {
		return errors.New("")
	}
	return fmt.Errorf(" (%w)", err)
}

// git runs git where we stand. Its error is what it said.
func git(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
	cmd.WaitDelay = 5 * time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	switch {
	case err == nil:
		return out.Bytes(), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("git did not answer in time: %w", ctx.Err())
	}
	if text := strings.TrimSpace(said.String()); text != "" {
		line, _, _ := strings.Cut(text, "\n")
		return nil, errors.New(clean(line))
	}
	if _, ended := errors.AsType[*exec.ExitError](err); ended {
		return nil, errors.New("")
	}
	return nil, err
}
