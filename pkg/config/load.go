package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"sigs.k8s.io/yaml"
)

// ErrInvalid is the kind of every error about the configuration.
var ErrInvalid = errors.New("invalid configuration")

// maxFile bounds the configuration file.
const maxFile = 1 << 20

// Defaults is a Config with every key at its default.
func Defaults() Config {
	var c Config
	v := viper.New()
	for _, k := range Keys() {
		v.SetDefault(k.Name, k.Default)
	}
	if err := assign(&c, v); err != nil {
		panic("config: a default in the struct's tags does not parse: " + err.Error())
	}
	return c
}

// BindFlags adds a flag for each key that the role reads.
func BindFlags(fs *pflag.FlagSet, role string) {
	for _, k := range Keys() {
		if !k.ReadBy(role) {
			continue
		}
		usage := k.Doc
		switch k.Kind {
		case reflect.Bool:
			fs.Bool(k.Flag(), false, usage)
		case reflect.Slice:
			fs.StringSlice(k.Flag(), nil, usage)
		case reflect.Map:
			fs.StringToString(k.Flag(), nil, usage)
		default:
			fs.String(k.Flag(), k.defaultFor(role), usage)
		}
	}
}

// Load puts a configuration together: defaults, then the file (nil for none),
// then the environment, then the flags that were set (nil for none). Unknown
// keys in the file, unknown DCOS_ variables and values that do not parse are
// errors that name the key, and the variable or flag that has set it; InFile
// tells whether the file is at fault.
func Load(role string, file []byte, environ []string, flags *pflag.FlagSet) (Config, error) {
	v := viper.New()
	for _, k := range Keys() {
		v.SetDefault(k.Name, k.defaultFor(role))
	}
	from := sources{}
	if err := mergeFile(v, role, file, from); err != nil {
		return Config{}, inFile{err}
	}
	if err := mergeEnv(v, environ, from); err != nil {
		return Config{}, err
	}
	if flags != nil {
		for _, k := range Keys() {
			if f := flags.Lookup(k.Flag()); f != nil && f.Changed {
				if err := v.BindPFlag(k.Name, f); err != nil {
					return Config{}, fmt.Errorf("bind flag --%s: %w", f.Name, err)
				}
				from[k.Name] = "--" + f.Name
			}
		}
	}
	var c Config
	if err := assign(&c, v); err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrInvalid, from.name(err))
	}
	if err := c.Check(role); err != nil {
		return Config{}, fmt.Errorf("%w: %w; `dcos config reference` explains every key", ErrInvalid, from.name(err))
	}
	return c, nil
}

// mergeFile decodes the file strictly. viper's own reading of YAML is not used
// because it lowercases keys, splits them at dots and ignores unknown ones.
func mergeFile(v *viper.Viper, role string, file []byte, from sources) error {
	if len(bytes.TrimSpace(file)) == 0 {
		return nil
	}
	if len(file) > maxFile {
		return fmt.Errorf("%w file: %d bytes, expected at most %d", ErrInvalid, len(file), maxFile)
	}
	c := Defaults()
	if role == roleDev {
		c.DataDir = ""
	}
	if err := yaml.UnmarshalStrict(file, &c); err != nil {
		return fmt.Errorf("%w file: %s; `dcos config reference` lists every key", ErrInvalid, fileFault(err))
	}
	var named map[string]any
	if err := yaml.Unmarshal(file, &named); err != nil {
		return fmt.Errorf("%w file: %s", ErrInvalid, fileFault(err))
	}
	for key := range named {
		from[key] = sourceFile
	}
	value := reflect.ValueOf(c)
	for _, k := range Keys() {
		v.SetDefault(k.Name, value.Field(k.field).Interface())
	}
	return nil
}

var jsonNoise = regexp.MustCompile(`^error (converting YAML to JSON|unmarshaling JSON): (while decoding JSON: )?(json: )?`)

// fileFault strips what the YAML library says of its own ways.
func fileFault(err error) string { return jsonNoise.ReplaceAllString(err.Error(), "") }

// ownVariables are DCOS_ variables that are no keys: the command line's, and
// what an agent gives to tasks.
var ownVariables = map[string]bool{
	"DCOS_DIR": true, "DCOS_CLUSTER": true, "DCOS_URL": true, "DCOS_ACS_TOKEN": true, "DCOS_CONFIG": true,
	"DCOS_BINARY": true, "DCOS_VERBOSITY": true, "DCOS_DEBUG": true, "DCOS_SSL_VERIFY": true, "DCOS_PASSWORD": true,
	"DCOS_USERNAME": true, "DCOS_UI_DEV": true, "DCOS_TIMEOUT": true, "DCOS_LOG_FILE": true, "DCOS_TLS_INSECURE": true, "DCOS_TLS_CA_PATH": true,
}

// ownPrefixes begin further variables of the old command line.
var ownPrefixes = []string{"DCOS_CLI_", "DCOS_CLUSTER_SETUP_", "DCOS_TASK_ESCAPE", "DCOS_PACKAGE_"}

func isOwn(name string) bool {
	for _, p := range ownPrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return ownVariables[name]
}

func mergeEnv(v *viper.Viper, environ []string, from sources) error {
	byEnv := map[string]Key{}
	for _, k := range Keys() {
		byEnv[k.Env()] = k
	}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "DCOS_") || isOwn(name) {
			continue
		}
		k, known := byEnv[name]
		if !known {
			return fmt.Errorf("%w: environment variable %s is no key; `dcos config reference` lists them", ErrInvalid, name)
		}
		v.SetDefault(k.Name, value)
		from[k.Name] = name
	}
	return nil
}

// assign reads every key out of viper into the struct, each by its type.
func assign(c *Config, v *viper.Viper) error {
	var errs []error
	value := reflect.ValueOf(c).Elem()
	for _, k := range Keys() {
		f := value.Field(k.field)
		if err := assignOne(f, v.Get(k.Name)); err != nil {
			errs = append(errs, &fault{k.Name, err})
		}
	}
	return errors.Join(errs...)
}
