package dcos

import (
	"net/http"
	"time"

	"github.com/dcos-go/dcos/pkg/api"
	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/image"
)

// Images is an agent's store of images.
type Images interface {
	Images() ([]image.Image, error)
	Coming() []image.Coming
}

var _ Images = (*image.Store)(nil)

// images lists what the node has of images, and what is on its way.
func (a *agentServer) images(w http.ResponseWriter, _ *http.Request) error {
	out := client.NodeImages{Node: string(a.Node), Images: []client.NodeImage{}, Pulls: []client.NodePull{}}
	if a.Images != nil {
		all, err := a.Images.Images()
		if err != nil {
			return err
		}
		for _, i := range all {
			one := client.NodeImage{Digest: i.Digest, Names: i.Names, Bytes: i.Bytes, Layers: i.Layers, LastUsed: i.LastUsed.UTC().Format(time.RFC3339), InUse: i.InUse}
			for _, t := range i.Tasks {
				one.Tasks = append(one.Tasks, string(t))
			}
			out.Images = append(out.Images, one)
		}
		for _, c := range a.Images.Coming() {
			out.Pulls = append(out.Pulls, client.NodePull{Name: c.Name, Since: c.Since.UTC().Format(time.RFC3339), Layers: c.Layers, Bytes: c.Bytes, Total: c.Total})
		}
	}
	api.WriteJSON(w, http.StatusOK, out)
	return nil
}
