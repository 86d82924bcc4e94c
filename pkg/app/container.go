package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/dcos-go/dcos/pkg/dcos"
)

func (d *draft) container(path string, v any) {
	o, ok := d.object(path, v)
	if !ok {
		return
	}
	c := &dcos.Container{Type: "DOCKER"}
	d.app.Container = c
	for _, key := range o.keys {
		v, at := o.values[key], path+"/"+key
		switch key {
		case "type", "docker", "volumes", "portMappings", "linuxInfo":
		default:
			d.unknown(at, key, []string{"type", "docker", "volumes", "portMappings", "linuxInfo"})
			continue
		}
		if v == nil {
			continue
		}
		switch key {
		case "type":
			c.Type, _ = d.text(at, v)
			if c.Type != "DOCKER" && c.Type != "MESOS" {
				d.schema(at, "error.unknown.enum.literal")
			}
		case "docker":
			d.docker(at, v, c)
		default: // volumes, portMappings, linuxInfo
			if !isEmpty(v) {
				d.unsupported(at, "")
			}
		}
	}
	if c.Type == "DOCKER" && c.Image == "" && len(d.broken) == 0 {
		d.rule(path+"/docker/image", "must not be empty for a container of type DOCKER")
	}
}

// dockerFields are the known fields of container.docker.
var dockerFields = []string{"image", "forcePullImage", "privileged", "parameters", "network", "portMappings", "pullConfig", "credential"}

func (d *draft) docker(path string, v any, c *dcos.Container) {
	o, ok := d.object(path, v)
	if !ok {
		return
	}
	d.onlyFields(path, o, dockerFields...)
	if o.values["image"] == nil {
		d.schema(path+"/image", "error.path.missing")
	}
	for _, key := range o.keys {
		v, at := o.values[key], path+"/"+key
		if v == nil || !contains(dockerFields, key) {
			continue
		}
		switch key {
		case "image":
			c.Image = d.image(at, v)
		case "forcePullImage":
			c.ForcePull = d.flag(at, v)
		case "privileged":
			if d.flag(at, v) {
				d.unsupported(at, "")
			}
		case "network":
			if s, ok := d.text(at, v); ok && s != "HOST" {
				d.unsupported(at, "only host networking is")
			}
		default: // parameters, portMappings, pullConfig, credential
			if !isEmpty(v) {
				d.unsupported(at, "")
			}
		}
	}
}

func (d *draft) image(path string, v any) string {
	s, ok := d.text(path, v)
	switch {
	case !ok:
	case s == "":
		d.schema(path, "error.minLength")
	case len(s) > maxImage:
		d.schema(path, "error.maxLength")
	default:
		ref, err := name.ParseReference(s, name.WeakValidation)
		if err == nil && (hasDotPart(s) || hasDotPart(ref.Context().Name())) {
			err = errors.New("it has a part that is empty or dots alone")
		}
		if err != nil {
			d.rule(path, "%q is not an image name like \"redis:8\" or \"registry/name@sha256:...\": %v", s, err)
		}
	}
	return s
}

// hasDotPart finds a part that would mean another place in a registry's paths.
func hasDotPart(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return strings.Trim(part, ".") == "" })
}

func (d *draft) networks(path string, v any) {
	list := d.list(path, v)
	for i, e := range list {
		at := fmt.Sprintf("%s(%d)", path, i)
		o, ok := d.object(at, e)
		if !ok {
			continue
		}
		d.onlyFields(at, o, "mode", "name", "labels")
		mode := "container"
		if v := o.values["mode"]; v != nil {
			mode, _ = d.text(at+"/mode", v)
		}
		switch mode {
		case "host":
			if o.values["name"] != nil {
				d.rule(at+"/name", "must not be given for host networking")
			}
			if l := o.values["labels"]; l != nil && !isEmpty(l) {
				d.rule(at+"/labels", "must not be given for host networking")
			}
			if i > 0 {
				d.rule(path, "host networking must be the only network")
			}
		case "container", "container/bridge":
			d.unsupported(at, fmt.Sprintf("mode %q, only \"host\" is", mode))
		default:
			d.schema(at+"/mode", "error.unknown.enum.literal")
		}
	}
}

func (d *draft) portDefinitions(path string, v any) {
	list := d.list(path, v)
	if len(list) > maxPorts {
		d.rule(path, "got %d ports, expected %d or less", len(list), maxPorts)
		return
	}
	d.app.Ports = []dcos.PortDef{}
	for i, e := range list {
		at := fmt.Sprintf("%s(%d)", path, i)
		o, ok := d.object(at, e)
		if !ok {
			continue
		}
		d.onlyFields(at, o, "port", "protocol", "name", "labels")
		def := dcos.PortDef{Protocol: "tcp"}
		if v := o.values["port"]; v != nil {
			n, _ := d.whole(at+"/port", v, 65535)
			def.Port = uint16(n)
		}
		if v := o.values["protocol"]; v != nil {
			def.Protocol = d.protocol(at+"/protocol", v)
		}
		if v := o.values["name"]; v != nil {
			def.Name, _ = d.text(at+"/name", v)
		}
		if v := o.values["labels"]; v != nil {
			def.Labels = d.texts(at+"/labels", v)
		}
		d.app.Ports = append(d.app.Ports, def)
	}
}

func (d *draft) protocol(path string, v any) string {
	s, ok := d.text(path, v)
	switch s {
	case "tcp", "udp", "udp,tcp":
	case "tcp,udp":
		return "udp,tcp"
	default:
		if ok {
			d.schema(path, "error.unknown.enum.literal")
		}
	}
	return s
}

// legacyPorts reads the deprecated list of numbers.
func (d *draft) legacyPorts(path string, v any) {
	list := d.list(path, v)
	if len(list) > maxPorts {
		d.rule(path, "got %d ports, expected %d or less", len(list), maxPorts)
		return
	}
	d.legacy = []dcos.PortDef{}
	for i, e := range list {
		n, _ := d.whole(fmt.Sprintf("%s(%d)", path, i), e, 65535)
		d.legacy = append(d.legacy, dcos.PortDef{Port: uint16(n), Protocol: "tcp"})
	}
}
