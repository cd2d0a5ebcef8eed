package engine

import "sync"

// imageUses keeps creates and removals of one image apart: a container that is being
// made is listed when its VM is there, and until then its image must stay as well.
type imageUses struct {
	mu     sync.Mutex     // guards what follows
	making map[string]int // creates under way by the image's id
	going  map[string]int // removals
}

// create begins a create of a container of an image, to be ended by done. ok is false
// while the image is being removed.
func (u *imageUses) create(image string) (done func(), ok bool) {
	return u.begin(image, &u.making, &u.going)
}

// remove begins the removal of an image, to be ended by done. ok is false while a
// container of it is being made.
func (u *imageUses) remove(image string) (done func(), ok bool) {
	return u.begin(image, &u.going, &u.making)
}

func (u *imageUses) begin(image string, mine, others *map[string]int) (done func(), ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if (*others)[image] > 0 {
		return nil, false
	}
	if *mine == nil {
		*mine = map[string]int{}
	}
	(*mine)[image]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if (*mine)[image]--; (*mine)[image] == 0 {
			delete(*mine, image)
		}
	}, true
}
