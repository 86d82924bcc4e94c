package dcos

import (
	"testing"

	"pgregory.net/rapid"
)

func TestAttributesReadAsMarathonWritesThem(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"text", "rack-7", "rack-7"},
		{"whole number", "4", "4"},
		{"whole number with zeros", "007", "007"},
		{"scalar", "2.5000", "2.5"},
		{"scalar that is whole", "4.0", "4"},
		{"half to even, down", "0.0625", "0.062"},
		{"half to even, up", "0.1875", "0.188"},
		{"negative scalar", "-1.50", "-1.5"},
		{"no scalar", "1.2.3", "1.2.3"},
		{"ranges", "[ 20-30, 1-2 ]", "[1-2,20-30]"},
		{"ranges by number", "[100-200,20-30]", "[20-30,100-200]"},
		{"no ranges", "[a-b]", "[a-b]"},
		{"set", "{ssd, hdd}", "{hdd,ssd}"},
		{"empty", "", ""},
		{"lone bracket", "[", "["},
		{"point", ".", "."},
	} {
		if got := AttributeText(tt.in); got != tt.want {
			t.Errorf("%s: %q reads %q, want %q", tt.name, tt.in, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		once := AttributeText(rapid.StringMatching(`[\[{]?[0-9a-c ,.+-]{0,12}[\]}]?`).Draw(t, "value"))
		if again := AttributeText(once); again != once {
			t.Fatalf("%q reads %q", once, again)
		}
	})
}
