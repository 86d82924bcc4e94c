package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/dcos-go/dcos/pkg/dcos"
	"github.com/dcos-go/dcos/pkg/link"
)

// Token is a join token: it lets machines of one role into one cluster and
// tells them which CA that cluster has, so that they cannot be lured into
// another. Its text is made by Reveal only.
type Token struct {
	id     string
	secret []byte
	ca     [sha256.Size]byte
}

// Sizes of a token's parts.
const (
	tokenSecret  = 20 // bytes: 160 random bits
	tokenNonce   = 6  // characters of the id behind the role
	maxTokenID   = 32
	maxTokenText = 256
)

var tokenText = base64.RawURLEncoding.Strict()

const tokenLetters = "abcdefghijkmnpqrstuvwxyz23456789" // 32 of them, none alike

// NewToken makes a join token for a role and the row that state keeps of it.
func NewToken(role dcos.Role, ca [sha256.Size]byte, random io.Reader) (Token, dcos.JoinToken, error) {
	if role != dcos.RoleMaster && role != dcos.RoleAgent {
		return Token{}, dcos.JoinToken{}, fmt.Errorf("%w: join tokens are for the role %q or %q, not %.20q", dcos.ErrInvalid, dcos.RoleMaster, dcos.RoleAgent, role)
	}
	nonce, err := letters(random, tokenNonce)
	if err != nil {
		return Token{}, dcos.JoinToken{}, err
	}
	t := Token{id: string(role) + "-" + nonce, secret: make([]byte, tokenSecret), ca: ca}
	if _, err := io.ReadFull(random, t.secret); err != nil {
		return Token{}, dcos.JoinToken{}, fmt.Errorf("random bytes for a join token: %w", err)
	}
	hash := sha256.Sum256(t.secret)
	return t, dcos.JoinToken{ID: t.id, Role: role, SecretHash: hash[:]}, nil
}

// letters draws n random letters of 5 bits each.
func letters(random io.Reader, n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("random letters: %w", err)
	}
	for i := range b {
		b[i] = tokenLetters[b[i]%32]
	}
	return string(b), nil
}

// ParseToken reads a token's text. The error quotes nothing of it.
func ParseToken(text string) (Token, error) {
	bad := func(why string) (Token, error) {
		return Token{}, fmt.Errorf("%w: join token: %s; copy the whole token as the master printed it", dcos.ErrInvalid, why)
	}
	text = strings.TrimSpace(text)
	if len(text) > maxTokenText {
		return bad("it is too long")
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return bad(fmt.Sprintf("it has %d parts, expected three, separated by dots", len(parts)))
	}
	if parts[0] == "" || len(parts[0]) > maxTokenID || strings.Trim(parts[0], tokenLetters+"lo01-") != "" {
		return bad("its first part is not an id")
	}
	secret, err := tokenText.DecodeString(parts[1])
	if err != nil || len(secret) != tokenSecret {
		return bad("its second part is not a secret")
	}
	ca, err := tokenText.DecodeString(parts[2])
	if err != nil || len(ca) != sha256.Size {
		return bad("its third part is not the hash of a CA")
	}
	return Token{id: parts[0], secret: secret, ca: [sha256.Size]byte(ca)}, nil
}

// Reveal is the token's text: the one place where the secret leaves it.
func (t Token) Reveal() string {
	return t.id + "." + tokenText.EncodeToString(t.secret) + "." + tokenText.EncodeToString(t.ca[:])
}

// ID names the token; it is no secret.
func (t Token) ID() string { return t.id }

// CA is the hash of the CA of the cluster that the token belongs to.
func (t Token) CA() [sha256.Size]byte { return t.ca }

// Expect is who must answer a machine that joins with this token.
func (t Token) Expect() link.Expect { return link.Expect{Role: dcos.RoleMaster, CAHash: &t.ca} }

// String keeps the secret out of logs and errors.
func (t Token) String() string { return "join token " + t.id }

// GoString is String.
func (t Token) GoString() string { return t.String() }

// matches compares in constant time; row is nil for a token that does not
// exist, which takes as long.
func matches(row *dcos.JoinToken, secret []byte) bool {
	hash := sha256.Sum256(secret)
	want := make([]byte, sha256.Size)
	if row != nil && len(row.SecretHash) == sha256.Size {
		copy(want, row.SecretHash)
	}
	equal := subtle.ConstantTimeCompare(hash[:], want) == 1
	return equal && row != nil && len(row.SecretHash) == sha256.Size
}
