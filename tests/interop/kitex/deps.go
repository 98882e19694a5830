// Pins sonic: Kitex asks for an older one that does not know this Go.
package kitex

import _ "github.com/bytedance/sonic"
