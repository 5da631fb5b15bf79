package routing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

// Webhook is what callchain reads of one request of Alertmanager's webhook
// (version 4). The payload's own status is left out on purpose: it is computed
// from a list that may have been cut, only an alert's status is true.
type Webhook struct {
	Receiver    string
	GroupKey    string
	ExternalURL string
	Truncated   uint64 // alerts of the group that were cut off
	GroupLabels map[string]string
	RouteLabels map[string]string
	Alerts      []WebhookAlert
}

// WebhookAlert is one alert of a webhook.
type WebhookAlert struct {
	Firing       bool
	Labels       map[string]string
	Annotations  map[string]string
	StartsAt     time.Time // UTC; zero when the sender gives none
	EndsAt       time.Time // UTC; zero while firing
	GeneratorURL string
	Fingerprint  uint64
}

// Alert is what routing reads of the i-th alert.
func (w Webhook) Alert(i int) Alert {
	return Alert{Labels: w.Alerts[i].Labels, RouteLabels: w.RouteLabels}
}

// payload is the body as sent. What decides nothing is read if it can be
// (any) and left out if it cannot.
type payload struct {
	Version     any               `json:"version"`
	GroupKey    any               `json:"groupKey"`
	Receiver    any               `json:"receiver"`
	ExternalURL any               `json:"externalURL"`
	Truncated   any               `json:"truncatedAlerts"`
	GroupLabels map[string]string `json:"groupLabels"`
	RouteLabels map[string]string `json:"routeLabels"`
	Alerts      []payloadAlert    `json:"alerts"`
}

type payloadAlert struct {
	Status       any               `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     any               `json:"startsAt"`
	EndsAt       any               `json:"endsAt"`
	GeneratorURL any               `json:"generatorURL"`
	Fingerprint  any               `json:"fingerprint"`
}

// Decode reads the body of an Alertmanager webhook. It refuses what is not
// exactly one JSON object, a version other than "4", an empty groupKey, and an
// alert without labels, with a status other than firing or resolved, or with a
// time that is none; the error names the place and the remedy in one short
// line and is fit to be sent back. Everything else that is odd is lived with,
// because a refused webhook comes again for ever: unknown fields, no alerts at
// all, a startsAt that is absent (zero), broken UTF-8 (replaced by U+FFFD), a
// fingerprint that is absent or unreadable (computed as Prometheus does).
func Decode(body []byte) (Webhook, error) {
	if rest := bytes.TrimLeft(body, " \t\r\n"); len(rest) == 0 || rest[0] != '{' {
		return Webhook{}, errors.New("body: not a JSON object; " + payloadRemedy)
	}
	var p payload
	if err := json.Unmarshal(body, &p); err != nil {
		var wrong *json.UnmarshalTypeError
		if !errors.As(err, &wrong) {
			return Webhook{}, notOneObject(body)
		}
		// All that fits was read; now say where it did not, if that matters.
		if err := misfit(body, p); err != nil {
			return Webhook{}, err
		}
	}
	if err := p.envelope(); err != nil {
		return Webhook{}, err
	}
	w := Webhook{
		Receiver:    text(p.Receiver),
		GroupKey:    text(p.GroupKey),
		ExternalURL: text(p.ExternalURL),
		Truncated:   count(p.Truncated),
		GroupLabels: p.GroupLabels,
		RouteLabels: p.RouteLabels,
		Alerts:      make([]WebhookAlert, len(p.Alerts)),
	}
	for i := range p.Alerts {
		if err := p.Alerts[i].into(&w.Alerts[i]); err != nil {
			return Webhook{}, fmt.Errorf("alerts[%d].%w", i, err)
		}
	}
	return w, nil
}

const payloadRemedy = "send Alertmanager's own webhook body: remove a payload: setting from webhook_configs"

// notOneObject says in which way a body that begins like an object is none, or
// more than one.
func notOneObject(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	var first json.RawMessage
	switch err := d.Decode(&first); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("body: the JSON object is cut short; check proxies in between for a size limit")
	case err != nil:
		return errors.New("body: not valid JSON: " + short(err.Error()) + "; " + payloadRemedy)
	}
	return errors.New("body: more than one JSON object; send one webhook per request")
}

// envelope checks what tells Alertmanager's webhook from other bodies.
func (p *payload) envelope() error {
	switch v := p.Version.(type) {
	case string:
		switch {
		case v == "4":
		case v == "1":
			return errors.New(`version: want "4", got "1" as Grafana Alerting sends it; let Grafana send to an Alertmanager, and that one here`)
		default:
			return fmt.Errorf(`version: want "4", got %s; %s`, quoted(v), payloadRemedy)
		}
	case nil:
		return errors.New(`version: missing, want "4"; ` + payloadRemedy)
	default:
		return errors.New(`version: want the text "4", got something else; ` + payloadRemedy)
	}
	if key, ok := p.GroupKey.(string); !ok || key == "" {
		return errors.New("groupKey: missing or empty; " + payloadRemedy)
	}
	return nil
}

func (p *payloadAlert) into(a *WebhookAlert) error {
	if len(p.Labels) == 0 {
		return errors.New("labels: missing or empty; every alert needs a label, like alertname")
	}
	switch p.Status {
	case "firing":
		a.Firing = true
	case "resolved":
	default:
		return fmt.Errorf("status: want firing or resolved, got %s; %s", shown(p.Status), payloadRemedy)
	}
	var err error
	if a.StartsAt, err = instant(p.StartsAt); err != nil {
		return fmt.Errorf("startsAt: %w", err)
	}
	if a.EndsAt, err = instant(p.EndsAt); err != nil {
		return fmt.Errorf("endsAt: %w", err)
	}
	a.Labels, a.Annotations, a.GeneratorURL = p.Labels, p.Annotations, text(p.GeneratorURL)
	var ok bool
	if a.Fingerprint, ok = parseFingerprint(text(p.Fingerprint)); !ok {
		a.Fingerprint = model.LabelsToSignature(p.Labels)
	}
	return nil
}

func parseFingerprint(s string) (uint64, bool) {
	if len(s) != 16 {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 16, 64)
	return v, err == nil
}

// instant reads a time as JSON has it. Absent is the zero time.
func instant(v any) (time.Time, error) {
	if v == nil {
		return time.Time{}, nil
	}
	s, ok := v.(string)
	if ok {
		t, err := time.Parse(time.RFC3339, s)
		// In UTC it must still be a time that can be written.
		if t = t.UTC(); err == nil && t.Year() >= 0 && t.Year() <= 9999 {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("want a time like 2026-11-20T09:00:00Z, got %s; %s", shown(v), payloadRemedy)
}

// text is v if it is text.
func text(v any) string {
	s, _ := v.(string)
	return s
}

// count is v as a number of things; what is none counts as 0.
func count(v any) uint64 {
	f, _ := v.(float64)
	switch {
	case !(f > 0):
		return 0
	case f >= math.MaxUint64:
		return math.MaxUint64
	}
	return uint64(f)
}

// misfit finds the first value of the wrong type that must not be passed over,
// in the order of the checks.
func misfit(body []byte, p payload) error {
	if err := p.envelope(); err != nil {
		return err
	}
	var root struct {
		GroupLabels any `json:"groupLabels"`
		RouteLabels any `json:"routeLabels"`
		Alerts      any `json:"alerts"`
	}
	// Its own type errors (a number too large for any type) leave nil, as absent.
	_ = json.Unmarshal(body, &root)
	if !areLabels(root.GroupLabels) {
		return errors.New("groupLabels: want label names and texts; " + payloadRemedy)
	}
	if !areLabels(root.RouteLabels) {
		return errors.New("routeLabels: want label names and texts; " + payloadRemedy)
	}
	if root.Alerts == nil {
		return nil
	}
	list, ok := root.Alerts.([]any)
	if !ok {
		return errors.New("alerts: want a list; " + payloadRemedy)
	}
	for i, e := range list {
		alert, ok := e.(map[string]any)
		if !ok {
			return fmt.Errorf("alerts[%d]: want an object; %s", i, payloadRemedy)
		}
		for name, v := range alert {
			if equalFold(name, "labels") && !areLabels(v) {
				return fmt.Errorf("alerts[%d].labels: want label names and texts; %s", i, payloadRemedy)
			}
		}
	}
	return nil
}

// equalFold is how encoding/json finds a field by its name.
func equalFold(a, b string) bool { return bytes.EqualFold([]byte(a), []byte(b)) }

func areLabels(v any) bool {
	if v == nil {
		return true
	}
	m, ok := v.(map[string]any)
	if !ok {
		return false
	}
	for _, v := range m {
		if _, ok := v.(string); !ok && v != nil {
			return false
		}
	}
	return true
}

// shown is a value in an error text: short, and nothing in it can break a line.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return quoted(v)
	case float64, bool:
		return short(fmt.Sprint(v))
	}
	return "something else"
}

func quoted(s string) string { return strconv.QuoteToASCII(short(s)) }

// short cuts a text that came from outside.
func short(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}
