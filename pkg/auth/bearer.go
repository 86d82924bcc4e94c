package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// BearerLife is how long a bearer token holds. DC/OS gave five days; half a
// day is a working day without a second login, and bounds what a stolen token
// is worth. Raising the user's generation voids it at once.
const BearerLife = 12 * time.Hour

// CookieName is the cookie that carries a bearer token, as in DC/OS.
const CookieName = "dcos-acs-auth-cookie"

const (
	issuer = "dcos"
	// maxBearer bounds a token before anything of it is decoded.
	maxBearer = 4096
	// leeway is how far the clocks of two masters may differ.
	leeway = time.Minute
)

// claims is what a bearer token says. uid is DC/OS' claim.
type claims struct {
	UID string `json:"uid"`
	Gen uint64 `json:"gen"`
	jwt.RegisteredClaims
}

// IssueBearer signs a token for a user: the first key signs, the cluster's id
// is the audience.
func IssueBearer(s *Secrets, u *dcos.User, now time.Time, life time.Duration) (string, error) {
	key := s.Signing[0]
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		UID: u.ID, Gen: u.Generation,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{s.CA.Cluster()},
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
		},
	})
	t.Header["kid"] = keyID(key.Public().(ed25519.PublicKey))
	text, err := t.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign token of %s: %w", u.ID, err)
	}
	return text, nil
}

// keyID names a public key in tokens.
func keyID(pub ed25519.PublicKey) string {
	h := sha256.Sum256(pub)
	return hex.EncodeToString(h[:8])
}

// bearer is a token whose signature was verified. It is good until its end for
// a user of this generation.
type bearer struct {
	user string
	gen  uint64
	end  time.Time
}

// errBearer is the one answer to every bad token, so that guessing learns
// nothing.
var errBearer = fmt.Errorf("%w: the token is not valid or was revoked; run `dcos auth login`", dcos.ErrUnauthenticated)

var errExpired = fmt.Errorf("%w: the token has expired; run `dcos auth login`", dcos.ErrUnauthenticated)

// verifyBearer proves a token's signature and what it claims. The algorithm is
// fixed, the end is required.
func verifyBearer(s *Secrets, token string, now time.Time) (bearer, error) {
	if len(token) > maxBearer {
		return bearer{}, errBearer
	}
	var c claims
	_, err := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(s.CA.Cluster()),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(func() time.Time { return now }),
	).ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		for _, k := range s.Signing {
			if pub := k.Public().(ed25519.PublicKey); keyID(pub) == kid {
				return pub, nil
			}
		}
		return nil, errBearer
	})
	switch {
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return bearer{}, errExpired
	case err != nil || c.UID == "":
		return bearer{}, errBearer
	}
	return bearer{user: c.UID, gen: c.Gen, end: c.ExpiresAt.Add(leeway)}, nil
}

// Users is what authentication needs of the state; state.View is one.
type Users interface {
	User(id string) (*dcos.User, bool)
}

// principal is who a verified token stands for now.
func (b bearer) principal(users Users, now time.Time) (Principal, error) {
	if !now.Before(b.end) {
		return Principal{}, errExpired
	}
	u, ok := users.User(b.user)
	if !ok || u.Generation != b.gen {
		return Principal{}, errBearer
	}
	return UserPrincipal(u), nil
}

// FromHeader takes the token out of an Authorization header, in DC/OS' form
// "token=..." or as "Bearer ...". The command line of DC/OS sends an empty
// token when it has none: that, and no header at all, is "" without an error.
func FromHeader(header string) (token string, err error) {
	header = strings.TrimSpace(header)
	if header == "" {
		return "", nil
	}
	if rest, ok := strings.CutPrefix(header, "token="); ok {
		return strings.TrimSpace(rest), nil
	}
	if len(header) > 7 && strings.EqualFold(header[:7], "bearer ") {
		return strings.TrimSpace(header[7:]), nil
	}
	return "", fmt.Errorf("%w: Authorization header of an unknown form; expected `token=...` or `Bearer ...`", dcos.ErrUnauthenticated)
}
