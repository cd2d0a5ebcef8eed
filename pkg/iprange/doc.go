// Package iprange reads ranges of IPv4 addresses as people write them, a network
// ("10.2.1.0/24"), two ends ("10.2.1.10-10.2.1.99") or one address, and answers
// questions about them. It is pure, and gives no address to anybody.
//
// Start reading at Parse.
package iprange
