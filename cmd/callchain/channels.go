package main

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"callchain/escalation/engine"
	"callchain/notifiers/slack"
)

// channelsEvery is how often it is looked whether the boards' channels are still
// what the catalog takes them for.
const channelsEvery = 15 * time.Minute

// watchChannels looks at the channels that messages go to, at once and every few
// minutes until ctx is done, and tells callchain's own team what it has to cure.
func watchChannels(ctx context.Context, eng *engine.Engine, app func() *slack.Notifier, log *slog.Logger) error {
	ticker := time.NewTicker(channelsEvery)
	defer ticker.Stop()
	told := map[slack.Trouble]bool{}
	for {
		if n := app(); n != nil {
			told = lookAtChannels(ctx, eng, n, told, log)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// lookAtChannels tells what is wrong and was not when it was looked before. Every
// replica looks; what all of them say within a day is told once.
func lookAtChannels(ctx context.Context, eng *engine.Engine, app *slack.Notifier, told map[slack.Trouble]bool, log *slog.Logger) map[slack.Trouble]bool {
	snap := eng.Snapshot()
	looking, cancel := context.WithTimeout(ctx, channelsEvery/3)
	defer cancel()
	troubles, err := app.Watch(looking, boards(snap), len(snap.Config.Routing.Confidential) > 0)
	if err != nil && ctx.Err() == nil {
		log.Warn("not everything could be seen of the channels that boards go to", "notifier", "slack", "err", err)
	}
	now := map[slack.Trouble]bool{}
	for _, trouble := range troubles {
		now[trouble] = true
		if told[trouble] || snap.Config.Shadow.V {
			continue
		}
		log.Warn("a channel needs somebody", "notifier", "slack", "channel", trouble.Channel, "trouble", trouble.Text)
		now[trouble] = tell(ctx, eng, log, engine.Notice{
			Key:   "channel/" + trouble.Channel + "/" + trouble.Kind,
			Title: "Slack: " + trouble.Channel + " needs somebody",
			Body:  trouble.Text,
		})
	}
	if err != nil {
		for trouble := range told { // it was not seen that it is over
			now[trouble] = now[trouble] || told[trouble]
		}
	}
	return now
}

// boards are the channels that callchain posts to, as the configuration names them.
func boards(snap *engine.Snapshot) []string {
	var all []string
	add := func(channel string) {
		if channel != "" && !slices.Contains(all, channel) {
			all = append(all, channel)
		}
	}
	if s := snap.Config.Notifiers.Slack; s != nil {
		add(s.Channel.V)
	}
	if weekly := snap.Config.Reports.Weekly; weekly != nil {
		add(weekly.SlackChannel.V)
	}
	for _, t := range snap.Catalog.Teams() {
		add(t.SlackChannel)
	}
	return all
}
