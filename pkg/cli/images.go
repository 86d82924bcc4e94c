package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
)

func nodeImages(e *Env) *cobra.Command {
	c := &cobra.Command{
		Use: "images NODE", Short: "List the images of a node, and those on their way", Args: exactly(1), ValidArgsFunction: complete(e, nodeIDs),
		Long:    "List the images of a node, and those on their way. Images that no task uses are deleted by themselves\nwhen the node's disk becomes full (image_gc_high, image_gc_low), the longest unused first.",
		Example: "  dcos node images 7d0c5e3a1f2b4c68",
	}
	asJSON := jsonFlag(c)
	c.RunE = ask(e, func(ctx context.Context, api *client.Client, args []string) error {
		all, err := api.NodeImages(ctx, args[0])
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(e, all)
		}
		return imageTable(all).write(e, "no images")
	})
	return c
}

func imageTable(all client.NodeImages) *table {
	t := newTable("IMAGE", "DIGEST", "SIZE", "LAYERS", "USED", "STATE")
	for _, p := range all.Pulls {
		share := int64(100)
		if p.Total > 0 {
			share = min(100, p.Bytes*100/p.Total)
		}
		t.add(p.Name, "", mebibytes(p.Total), strconv.Itoa(p.Layers), p.Since, fmt.Sprintf("pulling, %d %%", share))
	}
	for _, i := range all.Images {
		state := "unused"
		if i.InUse {
			state = "in use"
		}
		names := strings.Join(i.Names, " ")
		if names == "" {
			names = "-"
		}
		t.add(names, shortDigest(i.Digest), mebibytes(i.Bytes), strconv.Itoa(i.Layers), i.LastUsed, state)
	}
	return t
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// shortDigest is enough of a digest to tell images apart.
func shortDigest(d string) string {
	if len(d) > len("sha256:")+12 {
		return d[:len("sha256:")+12]
	}
	return d
}
