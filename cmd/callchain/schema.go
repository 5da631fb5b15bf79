package main

import (
	"context"

	"github.com/alecthomas/kingpin/v2"

	"callchain/config/schema"
)

func schemaCommand(app *kingpin.Application, commands map[string]command) {
	c := app.Command("schema", "Print the JSON Schema of callchain.yml or of a catalog's file, for editors.")
	which := c.Arg("which", "config or catalog.").Required().HintOptions("config", "catalog").Enum("config", "catalog")
	commands[c.FullCommand()] = func(_ context.Context, std streams) error {
		text := schema.Config
		if *which == "catalog" {
			text = schema.Catalog
		}
		_, err := std.out.Write(text)
		return err
	}
}
