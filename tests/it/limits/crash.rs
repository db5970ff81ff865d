//! Nodes that die or are frozen with slots.
