package cli

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcos-go/dcos/pkg/client"
	"github.com/dcos-go/dcos/pkg/dcos"
)

// setup is what `cluster setup` was told.
type setup struct {
	name, caFile, fingerprint string
	insecure, noCheck         bool
	login                     login
}

func clusterSetup(e *Env) *cobra.Command {
	var s setup
	c := &cobra.Command{
		Use: "setup URL", Short: "Log in to a cluster and use it from now on", Args: exactly(1),
		Long: "Log in to a cluster and use it from now on. The certificate of the cluster's own CA is fetched and its\n" +
			"fingerprint shown; compare it with the one that a master shows:\n\n" +
			"  openssl x509 -noout -fingerprint -sha256 -in <(curl -sk https://127.0.0.1:8443/ca/dcos-ca.crt)",
		Example: "  dcos cluster setup https://10.0.0.1:8443\n" +
			"  DCOS_USERNAME=admin DCOS_PASSWORD=... dcos cluster setup https://10.0.0.1:8443 --ca-certs ca.crt",
	}
	c.Flags().StringVar(&s.name, "name", "", "name of the cluster here; its own when not given")
	c.Flags().StringVar(&s.caFile, "ca-certs", "", "file with the CA certificates to trust")
	c.Flags().StringVar(&s.fingerprint, "fingerprint", "", "SHA-256 of the cluster's CA certificate, instead of being asked")
	c.Flags().BoolVar(&s.insecure, "insecure", false, "trust any certificate")
	c.Flags().BoolVar(&s.noCheck, "no-check", false, "trust the cluster's CA certificate without being asked")
	s.login.flags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), e, args[0]) }
	return c
}

func (s *setup) run(ctx context.Context, e *Env, address string) error {
	address, err := clusterURL(address)
	if err != nil {
		return err
	}
	one := cluster{URL: address}
	ca, err := s.trust(ctx, e, &one)
	if err != nil {
		return err
	}
	api, err := client.New(client.Config{URL: one.URL, CA: ca, Insecure: one.SSLVerify == "false"})
	if err != nil {
		return err
	}
	defer api.Close()
	if one.Token, err = s.login.token(ctx, e, api); err != nil {
		return err
	}
	if err := s.identify(ctx, api.As(one.Token), &one); err != nil {
		return err
	}
	return s.keep(e, one, ca)
}

// identify asks the cluster who it is.
func (s *setup) identify(ctx context.Context, api *client.Client, one *cluster) error {
	meta, err := api.Metadata(ctx)
	if err != nil {
		return err
	}
	if err := checkClusterID(meta.ClusterID); err != nil {
		return fmt.Errorf("%s does not say which cluster it is: %w", one.URL, err)
	}
	one.ID, one.Name = meta.ClusterID, s.name
	if one.Name == "" {
		one.Name = meta.ClusterID
		// Whoever may not see the cluster still can use it.
		if status, err := api.Cluster(ctx); err == nil && status.Name != "" {
			one.Name = status.Name
		}
	}
	return nil
}

// keep writes the cluster down and attaches it.
func (s *setup) keep(e *Env, one cluster, ca []byte) error {
	known, err := clustersOf(e)
	if err != nil {
		return err
	}
	if old, err := known.read(one.ID); err == nil {
		one.rest = old.rest
	}
	if ca != nil {
		one.SSLVerify = known.path(one.ID, "dcos_ca.crt")
		if err := os.MkdirAll(known.path(one.ID), 0o700); err != nil {
			return fmt.Errorf("make directory for cluster %s: %w", one.ID, err)
		}
		if err := os.WriteFile(one.SSLVerify, ca, 0o600); err != nil {
			return fmt.Errorf("keep the CA of cluster %s: %w", one.ID, err)
		}
	}
	if err := known.write(one); err != nil {
		return err
	}
	if err := known.attach(one.ID); err != nil {
		return err
	}
	fmt.Fprintf(e.Err, "%s (%s) is attached\n", printable(one.Name), one.URL)
	return nil
}

// trust finds out which certificates prove that the server is the cluster: nil
// is the system's own.
func (s *setup) trust(ctx context.Context, e *Env, one *cluster) ([]byte, error) {
	switch {
	case !strings.HasPrefix(one.URL, "https:"):
		return nil, nil
	case s.insecure:
		one.SSLVerify = "false"
		return nil, nil
	case s.caFile != "":
		b, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, fileError(err)
		}
		return b, reach(ctx, one.URL, b)
	}
	if s.fingerprint == "" {
		err := reach(ctx, one.URL, nil)
		var cert *tls.CertificateVerificationError
		if err == nil || !errors.As(err, &cert) {
			return nil, err
		}
	}
	ca, err := s.fetchCA(ctx, e, one.URL)
	if err != nil {
		return nil, err
	}
	return ca, reach(ctx, one.URL, ca)
}

// reach says whether a server answers and its certificate is trusted.
func reach(ctx context.Context, url string, ca []byte) error {
	api, err := client.New(client.Config{URL: url, CA: ca})
	if err != nil {
		return err
	}
	defer api.Close()
	return api.Ping(ctx)
}

// fetchCA gets the CA certificate that the cluster claims, and lets a person
// or the given fingerprint decide.
func (s *setup) fetchCA(ctx context.Context, e *Env, url string) ([]byte, error) {
	api, err := client.New(client.Config{URL: url, Insecure: true})
	if err != nil {
		return nil, err
	}
	defer api.Close()
	b, err := api.CA(ctx)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%w: %s gives no CA certificate", dcos.ErrInvalid, url)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: read the CA certificate of %s: %w", dcos.ErrInvalid, url, err)
	}
	b = pem.EncodeToMemory(block) // this one and nothing that came with it
	sum := sha256.Sum256(cert.Raw)
	return b, s.decide(e, cert, hex.EncodeToString(sum[:]))
}

func (s *setup) decide(e *Env, cert *x509.Certificate, sum string) error {
	plain := strings.NewReplacer(":", "", " ", "")
	fmt.Fprintf(e.Err, "CA certificate of the cluster:\n  Subject:     %s\n  Valid until: %s\n  SHA-256:     %s\n",
		printable(cert.Subject.String()), cert.NotAfter.UTC().Format("2006-01-02"), sum)
	switch {
	case s.fingerprint != "" && !strings.EqualFold(plain.Replace(s.fingerprint), sum):
		return fmt.Errorf("%w: the certificate has another fingerprint than the one given: this is not the cluster meant, or somebody is in between", dcos.ErrDenied)
	case s.fingerprint != "" || s.noCheck:
		return nil
	case !e.TTY:
		return usagef("nobody can be asked whether to trust it: give --fingerprint %s after comparing it, or --ca-certs FILE", sum)
	}
	fmt.Fprint(e.Err, "Do you trust it? [y/n] ")
	answer, err := readLine(e.In)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(strings.ToLower(answer), "y") {
		return errors.New("the cluster was not set up")
	}
	return nil
}
