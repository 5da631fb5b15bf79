package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"callchain/config"
	"callchain/internal/online"
	"callchain/notifiers/slack"
)

// tryOut is the test page that doctor slack sends.
type tryOut struct {
	person, by string
	wait       time.Duration
}

// slack looks at Slack alone, and more closely than the rest does: whether the
// app may do all it needs, and whether presses come back.
func (d *diagnosis) slack(ctx context.Context, c client, l *loaded, limit time.Duration, test tryOut, progress io.Writer) error {
	if len(l.problems().Errors()) > 0 {
		d.say("slack", noticed, "nobody was asked: the configuration has errors", "")
		return nil
	}
	s := l.cfg.Notifiers.Slack
	if s == nil {
		d.say("slack", sick, "it is not configured", "add notifiers.slack; docs/slack.md says how to make the app")
		return nil
	}
	var wires wiring
	if _, err := wires.snapshot(l, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	seen := online.Slack(limited, online.World{Config: l.cfg, Catalog: l.raw, Slack: wires.slack, Email: wires.email})
	if err := ctx.Err(); err != nil {
		return err // half a report would look like a whole one
	}
	d.Online = true
	for _, text := range seen.Checked {
		d.say("slack", fine, strings.TrimPrefix(text, "Slack: "), "")
	}
	for _, p := range seen.Problems {
		verdict := noticed
		if p.Severity == config.Error {
			verdict = sick
		}
		d.say("slack", verdict, p.String(), "")
	}
	if err := d.presses(limited, c, l.cfg, s); err != nil {
		return err
	}
	if test.person == "" {
		return nil
	}
	return d.testPage(ctx, c, test, progress)
}

// presses tells whether what people do in Slack can come in.
func (d *diagnosis) presses(ctx context.Context, c client, cfg *config.Config, s *config.Slack) error {
	switch {
	case s.AppTokenFile.V != "":
		if token, ok := d.secret(cfg, "app_token_file", s.AppTokenFile); ok {
			return d.sockets(ctx, c, s.APIURL.V, token)
		}
	case s.SigningSecretFile.V == "":
		d.say("presses", sick, "there is neither app_token_file nor signing_secret_file: buttons do nothing", "docs/slack.md says how to get one")
	default:
		if _, ok := d.secret(cfg, "signing_secret_file", s.SigningSecretFile); ok {
			d.say("presses", fine, "they come as signed requests to "+strings.TrimRight(cfg.ExternalURL.V, "/")+"/slack/interactions; whether Slack reaches that is seen with --test-page", "")
		}
	}
	return nil
}

// secret reads the first line of a secret file.
func (d *diagnosis) secret(cfg *config.Config, key string, file config.At[string]) (string, bool) {
	secret, err := cfg.Secret(file).First()
	if err != nil {
		d.say("presses", sick, key+": "+err.Error(), "docs/slack.md says what belongs into it")
	}
	return secret, err == nil
}

// sockets tells whether Slack can bring anything in Socket Mode. Connections
// that are there prove more than one of ours, which for a moment would draw
// presses to itself that it cannot do.
func (d *diagnosis) sockets(ctx context.Context, c client, apiURL, token string) error {
	page, err := c.plain(ctx, "/metrics")
	if err != nil && ctx.Err() == nil {
		return err
	}
	running := readMetrics(page.body)["callchain_slack_sockets"]
	if len(running) > 0 && running[0].value > 0 {
		d.say("presses", fine, fmt.Sprintf("Socket Mode: the callchain at %s has %s to Slack", *c.url, count(int(running[0].value), "connection")), "")
		return nil
	}
	switch err := slack.Rehearse(ctx, apiURL, token); {
	case err != nil:
		d.say("presses", sick, "Socket Mode: "+err.Error(), "docs/slack.md says how to get an app token, and what to do when something is wrong")
	case len(running) > 0:
		d.say("presses", sick, "Socket Mode: a connection can be opened, but the callchain at "+*c.url+" has none", "it tries every 30 s; if that stays so its log says why")
	default:
		d.say("presses", fine, "Socket Mode: the app token is good, a connection could be opened", "")
		d.say("presses", noticed, "no callchain in Socket Mode answers at "+*c.url+", so nobody takes presses there", "start it, or say where it runs with --url or CALLCHAIN_URL")
	}
	return nil
}

// testPage has the running callchain page somebody, and waits for their press.
func (d *diagnosis) testPage(ctx context.Context, c client, test tryOut, progress io.Writer) error {
	var inc incident
	if err := c.call(ctx, http.MethodPost, "test-page", map[string]string{"person": test.person, "by": test.by}, &inc); err != nil {
		return err
	}
	fmt.Fprintf(progress, "The test page %s is on its way to %s. Press Acknowledge in Slack within %s.\n", inc.ID, clean(test.person), test.wait)
	waiting, cancel := context.WithTimeout(ctx, test.wait)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var raw json.RawMessage
		err := c.call(waiting, http.MethodGet, "incidents/"+url.PathEscape(inc.ID), nil, &raw)
		if err == nil {
			err = json.Unmarshal(raw, &inc)
		}
		if waiting.Err() == nil && err != nil {
			return err
		}
		if err == nil && (inc.AcknowledgedBy != "" || inc.State == "resolved") {
			d.answered(&inc)
			return nil
		}
		select {
		case <-tick.C:
		case <-waiting.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			d.unanswered(&inc, test)
			return nil
		}
	}
}

// answered says by which way the answer came.
func (d *diagnosis) answered(inc *incident) {
	for _, line := range inc.Timeline {
		if !strings.HasPrefix(line.Text, "acknowledged by ") {
			continue
		}
		if strings.Contains(line.Text, " in Slack") {
			d.say("test page", fine, inc.ID+" was "+line.Text, "")
		} else {
			d.say("test page", noticed, inc.ID+" was "+line.Text+", so nothing is known about the button in Slack", "try again, and press the button in Slack")
		}
		return
	}
	d.say("test page", noticed, inc.ID+" was ended without a press", "try again")
}

// unanswered says what is known of a page that nobody answered.
func (d *diagnosis) unanswered(inc *incident, test tryOut) {
	text := fmt.Sprintf("%s was not acknowledged within %s", inc.ID, test.wait)
	for _, p := range inc.Paged {
		if p.Failed != "" {
			text += "; " + p.Person + ": " + p.Failed
		}
	}
	d.say("test page", sick, text, "callchain incidents show "+inc.ID+" tells whether it was delivered. If it was, and the press shows a warning: Interactivity must be on in the app's settings, and with signed requests its URL right")
}
