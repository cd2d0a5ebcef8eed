// Package portlayer runs containers on vSphere: it assembles the image store,
// the addresses, the control lines, the containers and the reconciler to one
// PortLayer, and keeps them running. It knows vSphere, not Docker, and decides
// nothing itself: each part does, in a package of its own below.
//
// Start reading at PortLayer.Run; then exec for the life of one container.
package portlayer
