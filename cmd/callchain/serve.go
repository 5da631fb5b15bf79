package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"

	"callchain/config"
	"callchain/escalation/engine"
	"callchain/internal/heartbeat"
	"callchain/internal/server"
)

// How long the parts of a stop may take; together less than ten seconds.
const (
	stopIntake = 3 * time.Second
	stopEngine = 5 * time.Second
)

// serving are the flags of serve.
type serving struct {
	file, webConfig, publicAddress, publicConfig string
	addresses                                    []string
	lifecycle, checkOnly, expandEnv              bool
}

func serveCommand(app *kingpin.Application, commands map[string]command) {
	c := app.Command("serve", "Run callchain.")
	var f serving
	c.Flag("config.file", "The configuration.").Default("callchain.yml").StringVar(&f.file)
	c.Flag("config.check", "Check the configuration and end.").BoolVar(&f.checkOnly)
	c.Flag("config.expand-env", "Replace ${NAME} in secrets and URLs by the environment's values.").BoolVar(&f.expandEnv)
	c.Flag("web.listen-address", "Where to listen; repeatable.").Default(":9321").StringsVar(&f.addresses)
	c.Flag("web.config.file", "TLS for it, in exporter-toolkit's format.").StringVar(&f.webConfig)
	c.Flag("web.public.listen-address", "Serve Slack's callbacks, the links in mails and /-/healthy here, and only here.").StringVar(&f.publicAddress)
	c.Flag("web.public.config.file", "TLS for it, in exporter-toolkit's format.").StringVar(&f.publicConfig)
	c.Flag("web.enable-lifecycle", "Allow POST /-/reload.").BoolVar(&f.lifecycle)
	logging := promslog.Config{Level: promslog.NewLevel(), Format: promslog.NewFormat()}
	c.Flag(promslogflag.LevelFlagName, promslogflag.LevelFlagHelp).Default("info").SetValue(logging.Level)
	c.Flag(promslogflag.FormatFlagName, promslogflag.FormatFlagHelp).Default("logfmt").SetValue(logging.Format)

	commands[c.FullCommand()] = func(ctx context.Context, std streams) error {
		if f.checkOnly {
			return check(ctx, std.out, f.file, config.Options{ExpandEnv: f.expandEnv}, "text", noTime)
		}
		logging.Writer = std.err
		return serve(ctx, f, slog.New(redacting{promslog.New(&logging).Handler()}))
	}
}

// serve runs the daemon until ctx is done. It reads downward: what is opened
// first is closed last.
func serve(ctx context.Context, f serving, log *slog.Logger) error {
	for _, file := range []string{f.webConfig, f.publicConfig} {
		if err := checkWebConfig(file); err != nil {
			return err
		}
	}
	opts := config.Options{ExpandEnv: f.expandEnv}
	l := load(f.file, opts)
	report(log, l.own)
	if l.own.Err() != nil {
		return status{notDone, "the configuration is refused, see above; callchain check-config shows it too"}
	}

	storePath := l.cfg.Store.Path.V
	st, err := openStore(ctx, l.cfg, l.cfg.Store.Type.V, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := st.Close(); err != nil {
			log.Error("store not closed cleanly", "err", err)
		}
	}()
	if err := finished(ctx, st); err != nil {
		return err
	}
	island, err := openIsland(l.cfg, log)
	if err != nil {
		return err
	}
	if island != nil {
		defer func() {
			if err := errors.Join(island.Journal.Close(), island.Scratch.Close()); err != nil {
				log.Error("journal not closed cleanly", "err", err)
			}
		}()
	}

	good := lastGoodBeside(storePath)
	report(log, l.catalog)
	refused := l.catalog.Errors()
	if len(refused) > 0 {
		if err := l.fallBack(good); err != nil {
			return status{notDone, "the catalog is refused, see above, and there is no good copy of it: " + err.Error()}
		}
		log.Error("catalog refused, the last good copy is in force", "copy", good.path, "errors", len(refused))
	} else if err := good.write(l.files); err != nil {
		log.Error("catalog not kept for the next start", "err", err)
	}

	reg := prometheus.NewRegistry()
	reg.MustRegister(versioncollector.NewCollector("callchain"), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := newLoadMetrics(reg)
	var wires wiring
	snap, err := wires.snapshot(l, log)
	if err != nil {
		return err
	}
	eng := engine.New(engine.Config{Store: st, Registerer: reg, Logger: log, Island: island}, snap)
	metrics.good(l)
	if len(refused) > 0 {
		metrics.successful.Set(0)
	}

	r := &reloader{file: f.file, opts: opts, engine: eng, wires: &wires, good: good, store: l.cfg.Store, metrics: metrics, log: log}
	deps := server.Deps{Engine: eng, Logger: log, Registry: reg, Version: versionNumber(), Slack: wires.app, Split: f.publicAddress != ""}
	if f.lifecycle {
		deps.Reload = r.reload
	}
	srv := server.New(deps)
	sockets := newSockets(&wires, srv, eng, reg, log)

	doors, err := listen(f, srv, log)
	if err != nil {
		return err
	}
	if len(refused) > 0 {
		tell(ctx, eng, log, refusedNotice(refused, "callchain started with the last good copy of the catalog"))
	}
	tellMissing(ctx, eng, log, l)

	heart := heartbeat.New(heartbeat.Config{
		URL: heartbeatURL(eng), Able: eng.Able, Version: versionNumber(), Registerer: reg, Logger: log,
	})

	// The engine outlives the intake: what was answered 200 last is sent yet.
	engineCtx, stopEngineNow := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngineNow()
	engineDone := make(chan struct{})
	go func() {
		defer close(engineDone)
		_ = together( // they end with their context, never with an error
			func() error { return eng.Run(engineCtx) },
			func() error { return eng.RunGauges(engineCtx) },
			func() error { return eng.RunProbes(engineCtx) },
			func() error { return eng.RunAudit(engineCtx) },
			func() error { return watchChannels(engineCtx, eng, wires.current.Load, log) },
			func() error { return heart.Run(ctx) }, // one that is being stopped is not able
			func() error { return tellLosses(engineCtx, eng, log, st) },
		)
	}()
	failed := make(chan error, len(doors))
	for _, d := range doors {
		go func() { failed <- d.serve(log) }()
	}
	socketsCtx, stopSockets := context.WithCancel(ctx)
	defer stopSockets()
	socketsDone := make(chan struct{})
	go func() {
		defer close(socketsDone)
		_ = sockets.Run(socketsCtx) // it ends with its context, never with an error
	}()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	log.Info("callchain is up", "version", versionNumber(), "config", f.file,
		"services", len(l.cat.Services()), "teams", len(l.cat.Teams()), "people", len(l.cat.People()))

	var end error
	for end == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hup:
			_ = r.reload(ctx) // says itself what came of it
		case end = <-failed:
		}
	}

	log.Info("stopping", "after", "intake, engine, store")
	stopping, cancel := context.WithTimeout(context.Background(), stopIntake)
	defer cancel()
	stopSockets()
	_ = together(
		func() error { return shut(stopping, doors) },
		func() error {
			select {
			case <-socketsDone:
			case <-stopping.Done():
				log.Warn("slack sockets did not end in time; Slack shows what came last as failed")
			}
			return nil
		},
		func() error { srv.Wait(); return nil },
	)
	stopEngineNow()
	select {
	case <-engineDone:
	case <-time.After(stopEngine):
		log.Warn("engine did not end in time; what it was sending is taken up at the next start")
	}
	if end != nil {
		return fmt.Errorf("serve HTTP: %w", end)
	}
	log.Info("stopped")
	return nil
}

// heartbeatURL is the URL that self.heartbeat_url_file has now, by the
// configuration in force; "" without one.
func heartbeatURL(eng *engine.Engine) func() (string, error) {
	var of *config.Config
	var secret *config.Secret
	return func() (string, error) {
		if c := eng.Snapshot().Config; c != of {
			of, secret = c, c.Secret(c.Self.HeartbeatURLFile)
		}
		if secret == nil {
			return "", nil
		}
		return secret.First()
	}
}

// together runs all of them at once and waits for all.
func together(fs ...func() error) error {
	errs := make(chan error, len(fs))
	for _, f := range fs {
		go func() { errs <- f() }()
	}
	var all error
	for range fs {
		all = errors.Join(all, <-errs)
	}
	return all
}

// door is one HTTP server with the addresses it listens on.
type door struct {
	http      *server.Door
	listeners []net.Listener
	flags     *web.FlagConfig
}

func (d door) serve(log *slog.Logger) error {
	err := web.ServeMultiple(d.listeners, d.http.Server, d.flags, log)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listen opens all addresses, so that a taken one is told before anything runs.
func listen(f serving, srv *server.Server, log *slog.Logger) ([]door, error) {
	doors := []door{newDoor(srv.Private, f.addresses, f.webConfig, log)}
	if f.publicAddress != "" {
		doors = append(doors, newDoor(srv.Public, []string{f.publicAddress}, f.publicConfig, log))
	}
	for i := range doors {
		for _, address := range *doors[i].flags.WebListenAddresses {
			l, err := net.Listen("tcp", address)
			if err != nil {
				_ = shut(context.Background(), doors)
				return nil, fmt.Errorf("listen on %s: %w", address, err)
			}
			doors[i].listeners = append(doors[i].listeners, doors[i].http.Bound(l))
		}
	}
	return doors, nil
}

func newDoor(h http.Handler, addresses []string, webConfig string, log *slog.Logger) door {
	socket := false
	return door{
		http:  server.NewDoor(h, log),
		flags: &web.FlagConfig{WebListenAddresses: &addresses, WebConfigFile: &webConfig, WebSystemdSocket: &socket},
	}
}

// shut lets what is under way end, then closes.
func shut(ctx context.Context, doors []door) error {
	var fs []func() error
	for _, d := range doors {
		fs = append(fs, func() error {
			err := d.http.Shutdown(ctx)
			if err != nil {
				err = errors.Join(err, d.http.Close())
			}
			for _, l := range d.listeners {
				l.Close() // one that was never served
			}
			return err
		})
	}
	return together(fs...)
}

// checkWebConfig refuses what would shut Alertmanager and Slack out.
func checkWebConfig(file string) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the web configuration: %w", err)
	}
	var c struct {
		Users map[string]any `yaml:"basic_auth_users"`
	}
	if err := yaml.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("read the web configuration %s: %w", file, err)
	}
	if len(c.Users) > 0 {
		return fmt.Errorf("%s: basic_auth_users cannot be used: one Authorization header cannot carry both it and a bearer token; remove it, give Alertmanager a token_file and programs api.tokens, and put people behind a proxy", file)
	}
	if err := web.Validate(file); err != nil {
		return fmt.Errorf("check the web configuration %s: %w", file, err)
	}
	return nil
}

// report logs what was found in the files.
func report(log *slog.Logger, ps config.Problems) {
	for _, p := range ps {
		if p.Severity == config.Error {
			log.Error("configuration refused", "place", p.Pos.String(), "problem", p.Text)
		} else {
			log.Warn("configuration", "place", p.Pos.String(), "problem", p.Text)
		}
	}
}

// fallBack takes the last good catalog instead of the one that was refused.
func (l *loaded) fallBack(good lastGood) error {
	files, err := good.read()
	if err != nil {
		return err
	}
	l.catalog = nil
	l.cat, l.router = nil, nil
	l.compile(files)
	if err := l.catalog.Err(); err != nil {
		return fmt.Errorf("the copy %s does not fit this configuration either:\n%w", good.path, err)
	}
	return nil
}

func tell(ctx context.Context, eng *engine.Engine, log *slog.Logger, n engine.Notice) (stored bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := eng.Notice(ctx, n)
	if err != nil {
		log.Error("notice not stored", "title", n.Title, "err", err)
	}
	return err == nil
}

// refusedNotice tells callchain's own team that a file was refused.
func refusedNotice(refused config.Problems, happened string) engine.Notice {
	const shown = 10
	var lines []string
	for i, p := range refused {
		if i == shown {
			lines = append(lines, fmt.Sprintf("and %d more", len(refused)-shown))
			break
		}
		lines = append(lines, p.String())
	}
	return engine.Notice{
		Key:   "refused:" + time.Now().UTC().Format(time.RFC3339),
		Title: "The catalog is refused",
		Body:  happened + ". Until it is mended, changes since then are not in force. Mend this and reload:\n" + strings.Join(lines, "\n"),
	}
}

// tellMissing tells of services that name an owner, a policy or a contact that
// does not exist: they were loaded without it.
func tellMissing(ctx context.Context, eng *engine.Engine, log *slog.Logger, l *loaded) {
	var names []string
	for _, svc := range l.cat.Services() {
		if svc.MissingReference {
			names = append(names, svc.Name)
		}
	}
	if len(names) == 0 {
		return
	}
	list := strings.Join(names, ", ")
	tell(ctx, eng, log, engine.Notice{
		Key:   "missing-reference:" + list,
		Title: "The catalog names what does not exist",
		Body:  "These services name a team, person or policy that the catalog lacks, and were loaded without it: " + list + ". callchain check-config shows the places.",
	})
}
