package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"

	"callchain/config"
	demodata "callchain/deploy/demo"
	"callchain/internal/demo"
	"callchain/notifiers/inbox"
	"callchain/routing/catalog"
)

func demoCommand(app *kingpin.Application, commands map[string]command) {
	c := app.Command("demo", "Run all of it on this machine: an inbox page in place of Slack and mail, and real-looking alerts.")
	address := c.Flag("web.listen-address", "Where callchain listens.").Default("127.0.0.1:9321").String()
	page := c.Flag("demo.listen-address", "Where the demo's page listens.").Default("127.0.0.1:9322").String()
	logging := promslog.Config{Level: promslog.NewLevel(), Format: promslog.NewFormat()}
	c.Flag(promslogflag.LevelFlagName, promslogflag.LevelFlagHelp).Default("warn").SetValue(logging.Level)
	c.Flag(promslogflag.FormatFlagName, promslogflag.FormatFlagHelp).Default("logfmt").SetValue(logging.Format)
	commands[c.FullCommand()] = func(ctx context.Context, std streams) error {
		logging.Writer = std.err
		return runDemo(ctx, *address, *page, promslog.New(&logging), std)
	}
}

// runDemo runs the real daemon over stand-ins for Slack and the smarthost, in a
// folder that is gone afterwards.
func runDemo(ctx context.Context, address, pageAddress string, log *slog.Logger, std streams) (err error) {
	dir, err := os.MkdirTemp("", "callchain-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer os.RemoveAll(dir)

	pageDoor, err := net.Listen("tcp", pageAddress)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", pageAddress, err)
	}
	defer pageDoor.Close()
	mails, err := inbox.StartSMTP("127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the demo's mail server: %w", err)
	}
	defer mails.Close()

	secrets, err := demoFiles(dir, address, pageDoor.Addr().String(), mails.Addr())
	if err != nil {
		return fmt.Errorf("write the demo's files: %w", err)
	}
	file := filepath.Join(dir, "callchain.yml")
	l := load(file, config.Options{})
	if err := l.problems().Err(); err != nil {
		return fmt.Errorf("load the demo's configuration: %w", err)
	}
	prepared, err := demodata.Files.ReadFile("alerts.jsonl")
	if err != nil {
		return fmt.Errorf("read the demo's alerts: %w", err)
	}
	alerts, err := demo.ReadAlerts(bytes.NewReader(prepared))
	if err != nil {
		return err
	}
	base := "http://" + address
	slack := inbox.New(inbox.Config{
		Token: secrets["slack-bot-token"], SigningSecret: secrets["slack-signing-secret"],
		Users: demoUsers(l.cat), Channels: demoChannels(l), CallbackURL: base + "/slack/interactions", CommandURL: base + "/slack/commands",
	})
	token := filepath.Join(dir, "secrets", "api-token")
	c := client{url: &base, tokenFile: &token}
	page := demo.New(demo.Config{
		Inbox: slack, Mail: mails,
		FireURL: base + "/api/v1/webhook/alertmanager/demo", Token: secrets["am-token"],
		Incidents: func(ctx context.Context) (json.RawMessage, error) {
			var answer json.RawMessage
			err := c.call(ctx, http.MethodGet, "incidents", nil, &answer)
			return answer, err
		},
		BaseURL: base, Alerts: alerts, People: demoPeople(l.cat),
	})
	srv := &http.Server{Handler: page, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(pageDoor) }() // until it is closed
	defer srv.Close()

	// serve ends by itself when it cannot listen; then nothing is promised.
	fmt.Fprintf(std.out, "The demo's page:  http://%s\ncallchain itself: %s\nFrom a terminal:  callchain incidents list --url=%[2]s --token-file=%[3]s\n"+
		"Stop it with Ctrl-C; nothing is kept. Two warnings about eventgate belong to the show: it is owned in part.\n", pageDoor.Addr(), base, token)
	return serve(ctx, serving{file: file, addresses: []string{address}}, log)
}

// demoFiles writes the configuration with the addresses it got, and fresh
// secrets, which are returned by the names of their files.
func demoFiles(dir, address, page, smarthost string) (map[string]string, error) {
	secrets := map[string]string{}
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		return nil, err
	}
	for _, name := range []string{"am-token", "slack-bot-token", "slack-signing-secret", "link-key", "api-token"} {
		secrets[name] = rand.Text() + rand.Text()
		if err := os.WriteFile(filepath.Join(dir, "secrets", name), []byte(secrets[name]+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"callchain.yml", "catalog.yml"} {
		data, err := demodata.Files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if name == "callchain.yml" {
			data = []byte(strings.NewReplacer("127.0.0.1:9321", address, "127.0.0.1:9322", page, "127.0.0.1:9325", smarthost).Replace(string(data)))
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	return secrets, nil
}

func demoUsers(cat *catalog.Catalog) []inbox.User {
	var users []inbox.User
	for _, p := range cat.People() {
		if p.Slack != "" {
			users = append(users, inbox.User{ID: p.Slack, Name: p.Handle, Email: p.Email})
		}
	}
	return users
}

func demoChannels(l *loaded) []string {
	names := []string{l.cfg.Notifiers.Slack.Channel.V}
	for _, t := range l.cat.Teams() {
		if t.SlackChannel != "" && !slices.Contains(names, t.SlackChannel) {
			names = append(names, t.SlackChannel)
		}
	}
	return names
}

// demoPeople says who everybody is: whose team, and what they are in it.
func demoPeople(cat *catalog.Catalog) []demo.Person {
	var list []demo.Person
	for _, p := range cat.People() {
		if p.Slack == "" {
			continue
		}
		var about []string
		for _, t := range cat.Teams() {
			switch {
			case t.Lead == p:
				about = append(about, "lead of "+t.Name)
			case slices.Contains(t.Members, p):
				about = append(about, t.Name)
			}
			if t.Manager == p {
				about = append(about, "manager of "+t.Name)
			}
			if t.Director == p {
				about = append(about, "director of "+t.Name)
			}
		}
		list = append(list, demo.Person{SlackID: p.Slack, Name: p.Handle, About: strings.Join(about, ", ")})
	}
	return list
}
