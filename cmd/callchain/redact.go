package main

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"

	"callchain/notifiers/slack"
)

// redacting is the last thing before the log: whatever an error of a library or an
// answer of somebody else's server brings, no token of Slack's and no link that
// acknowledges is written.
type redacting struct{ slog.Handler }

func (h redacting) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, redact(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(redactAttr(a))
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

func (h redacting) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = redactAttr(a)
	}
	return redacting{h.Handler.WithAttrs(clean)}
}

func (h redacting) WithGroup(name string) slog.Handler { return redacting{h.Handler.WithGroup(name)} }

func redactAttr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		var clean []slog.Attr
		for _, member := range v.Group() {
			clean = append(clean, redactAttr(member))
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(clean...)}
	case slog.KindString, slog.KindAny:
		said := v.String()
		if v.Kind() == slog.KindAny {
			said = fmt.Sprint(v.Any())
		}
		if clean := redact(said); clean != said {
			return slog.String(a.Key, clean)
		}
	}
	return a
}

var ackLink = regexp.MustCompile(`/ack/[0-9A-Za-z_.-]{16,}`)

func redact(s string) string {
	return ackLink.ReplaceAllString(slack.Redact(s), "/ack/<secret>")
}
