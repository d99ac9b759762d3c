pub mod nexthop;
