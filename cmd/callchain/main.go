// Command callchain stands between Alertmanager and people: see "callchain help".
//
// This package reads flags, wires the others together and prints. Whatever is
// decided is decided elsewhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

// How a command ends: the exit status.
const (
	good    = 0
	bad     = 1 // the thing checked is bad
	notDone = 2 // used wrongly, or could not run
)

// An argument is what it says, also one that begins with "@": nothing that people
// write to each other names a file of arguments.
func init() { kingpin.EnableFileExpansion = false }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once, whatever it waits for
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// streams are a command's input and output: results on out, messages on err.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// status is an error that says how to exit; its text, if any, is for people.
type status struct {
	code int
	text string
}

func (s status) Error() string { return s.text }

// command is what a sub-command does. Any error but a status means: could not run.
type command func(ctx context.Context, std streams) error

// ended is how kingpin stops after --help or --version.
type ended int

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	app := kingpin.New("callchain", "Takes alerts from Alertmanager, finds who owns what they are about, and wakes the right people in the right order.")
	app.HelpFlag.Short('h')
	out := &written{to: stdout}
	app.UsageWriter(out)
	app.ErrorWriter(stderr)
	app.Version(versionText())
	app.Terminate(func(code int) { panic(ended(code)) })
	defer func() {
		if p := recover(); p != nil {
			how, ok := p.(ended)
			if !ok {
				panic(p)
			}
			code = good
			if how != 0 {
				code = notDone
			}
			if out.err != nil {
				fmt.Fprintf(stderr, "callchain: %v\n", out.unwritten())
				code = notDone
			}
		}
	}()

	commands := map[string]command{}
	serveCommand(app, commands)
	demoCommand(app, commands)
	checkCommand(app, commands)
	catalogCommands(app, commands)
	routeCommands(app, commands)
	incidentCommands(app, commands)
	pageCommand(app, commands)
	testPageCommand(app, commands)
	drillCommand(app, commands)
	doctorCommand(app, commands)
	risksCommand(app, commands)
	reportCommand(app, commands)
	storeCommands(app, commands)
	whoisCommand(app, commands)
	onCallCommands(app, commands)
	schemaCommand(app, commands)
	completionCommand(app, commands)
	versionCommand(app, commands)

	if len(args) == 0 {
		app.UsageWriter(stderr)
		app.Usage(nil)
		return notDone
	}
	name, err := app.Parse(nameStdin(args))
	if err != nil {
		fmt.Fprintf(stderr, "callchain: %v\nSee: callchain %s--help\n", err, subcommand(app, args))
		return notDone
	}
	do := commands[name]
	if name != "serve" && name != "demo" { // these stop in good order
		do = interruptible(do)
	}
	err = do(ctx, streams{stdin, out, stderr})
	if out.err != nil {
		err = out.unwritten()
	}
	if err == nil {
		return good
	}
	code = notDone
	if s, ok := errors.AsType[status](err); ok {
		code = s.code
	}
	if err.Error() != "" {
		fmt.Fprint(stderr, cleanLines("callchain: "+err.Error()))
	}
	return code
}

// interruptible ends a command soon after its context, although it waits for
// what knows no context: for a terminal's input, for the other end of a pipe.
func interruptible(do command) command {
	return func(ctx context.Context, std streams) error {
		done := make(chan error, 1)
		go func() { done <- do(ctx, std) }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
		}
		select {
		case err := <-done: // it cleaned up, and says what it left
			return err
		case <-time.After(time.Second):
			return errors.New("interrupted")
		}
	}
}

// written remembers the first error of an output: a result that did not arrive,
// because the disk is full, is none. Who writes is not told: kingpin would panic.
type written struct {
	to  io.Writer
	err error
}

func (w *written) Write(p []byte) (int, error) {
	if _, err := w.to.Write(p); err != nil && w.err == nil {
		w.err = err
	}
	return len(p), nil
}

func (w *written) unwritten() error { return fmt.Errorf("write the result: %w", w.err) }

// fromStdin is what the argument "-" becomes: kingpin would take it for a flag
// without a letter. No argument of a process can hold a zero byte.
const fromStdin = "\x00-"

func nameStdin(args []string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "-" {
			out[i] = fromStdin
		}
	}
	return out
}

// subcommand is the name of the command that was meant, for its help.
func subcommand(app *kingpin.Application, args []string) string {
	if len(args) == 0 {
		return ""
	}
	c := app.GetCommand(args[0])
	if c == nil {
		return ""
	}
	if len(args) > 1 && c.GetCommand(args[1]) != nil {
		return args[0] + " " + args[1] + " "
	}
	return args[0] + " "
}

// outputFlag adds --output with these formats, the first is the default.
func outputFlag(c *kingpin.CmdClause, formats ...string) *string {
	return c.Flag("output", "How to print: "+strings.Join(formats, ", ")+".").Default(formats[0]).Enum(formats...)
}

func configFlag(c *kingpin.CmdClause) *string {
	return c.Flag("config.file", "The configuration.").Default("callchain.yml").String()
}

func expandFlag(c *kingpin.CmdClause) *bool {
	return c.Flag("config.expand-env", "Replace ${NAME} in secrets and URLs by the environment's values.").Bool()
}
