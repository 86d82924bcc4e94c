package auth

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/dcos-go/dcos/pkg/dcos"
)

// The cost of a password: OWASP's argon2id parameters of 19 MiB and two passes.
// Hashes with other parameters are verified within the bounds below, so that
// the cost can be raised later and no stored row can exhaust a master.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	argonKey     = 32
	// SaltSize is the number of random bytes that HashPassword takes.
	SaltSize = 16

	maxArgonMemory  = 64 << 10
	maxArgonTime    = 8
	maxArgonThreads = 4
	maxArgonKey     = 64
)

// The length of a password, in characters and bytes.
const (
	minPassword = 12
	maxPassword = 256
)

// CheckPassword says whether a new password is good enough. Length is the only
// rule: rules on kinds of characters make passwords worse.
func CheckPassword(password string) error {
	if n := utf8.RuneCountInString(password); n < minPassword {
		return fmt.Errorf("%w: password of %d characters, at least %d are needed", dcos.ErrInvalid, n, minPassword)
	}
	if len(password) > maxPassword || !utf8.ValidString(password) {
		return fmt.Errorf("%w: password must be valid UTF-8 of at most %d bytes", dcos.ErrInvalid, maxPassword)
	}
	return nil
}

// HashPassword is the PHC form that state keeps. It takes 19 MiB for some 20 ms.
func HashPassword(password string, salt []byte) string {
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	enc := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, enc(salt), enc(key))
}

// phc is a hash of a password, taken apart.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

// parsePHC reads HashPassword's form, within the bounds.
func parsePHC(s string) (phc, error) {
	bad := fmt.Errorf("%w: stored password hash is damaged; set a new password", dcos.ErrInvalid)
	parts := strings.Split(s, "$")
	if len(s) > 512 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, bad
	}
	var n [3]uint64
	params := strings.Split(parts[3], ",")
	if len(params) != len(n) {
		return phc{}, bad
	}
	for i, p := range []struct {
		prefix string
		most   uint64
	}{{"m=", maxArgonMemory}, {"t=", maxArgonTime}, {"p=", maxArgonThreads}} {
		digits, ok := strings.CutPrefix(params[i], p.prefix)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || v == 0 || v > p.most {
			return phc{}, bad
		}
		n[i] = v
	}
	dec := base64.RawStdEncoding.Strict()
	salt, err := dec.DecodeString(parts[4])
	if err != nil || len(salt) < 8 {
		return phc{}, bad
	}
	key, err := dec.DecodeString(parts[5])
	if err != nil || len(key) < 16 || len(key) > maxArgonKey {
		return phc{}, bad
	}
	return phc{memory: uint32(n[0]), time: uint32(n[1]), threads: uint8(n[2]), salt: salt, key: key}, nil
}

// verifyPassword compares in constant time. The work is bounded by the bounds
// of parsePHC and of the password's length.
func verifyPassword(hash, password string) (bool, error) {
	h, err := parsePHC(hash)
	if err != nil {
		return false, err
	}
	if len(password) > maxPassword {
		return false, nil
	}
	got := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(got, h.key) == 1, nil
}

// maxUserID bounds a user's id.
const maxUserID = 96

// CheckUserID says whether a user may have this id: letters, digits and
// ". _ - + @", so that it fits into paths, logs and mail addresses. Ids with a
// colon are those of machines.
func CheckUserID(id string) error {
	if id == "" || len(id) > maxUserID || id == "system" {
		return fmt.Errorf("%w: user id %.40q: expected 1 to %d characters, and not \"system\"", dcos.ErrInvalid, id, maxUserID)
	}
	for i, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._-+@", rune(c))) {
			return fmt.Errorf("%w: user id %.40q: letters, digits and ._-+@ are allowed, beginning with a letter or digit", dcos.ErrInvalid, id)
		}
	}
	return nil
}

// NewUser is a user's row with a hashed password.
func NewUser(id, password string, grants []dcos.Grant, random io.Reader) (dcos.User, error) {
	if err := CheckUserID(id); err != nil {
		return dcos.User{}, err
	}
	if err := CheckPassword(password); err != nil {
		return dcos.User{}, err
	}
	if err := CheckGrants(grants); err != nil {
		return dcos.User{}, err
	}
	salt := make([]byte, SaltSize)
	if _, err := io.ReadFull(random, salt); err != nil {
		return dcos.User{}, fmt.Errorf("random bytes for a password: %w", err)
	}
	return dcos.User{ID: id, PasswordHash: HashPassword(password, salt), Grants: grants}, nil
}

// AdminID is the first administrator.
const AdminID = "admin"

// NewAdmin makes the first administrator with a random password, which is
// returned to be shown once.
func NewAdmin(random io.Reader) (admin dcos.User, password string, err error) {
	if password, err = letters(random, 24); err != nil {
		return dcos.User{}, "", err
	}
	admin, err = NewUser(AdminID, password, System().Grants, random)
	return admin, password, err
}
