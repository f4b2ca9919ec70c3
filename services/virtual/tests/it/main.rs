//! The virtual participants beside a real SPI: real processes, real parts, real TLS. What they do is seen from the
//! other side of a payment, as an integrator sees it.

mod behaving;
mod operating;
mod paying;
mod support;
