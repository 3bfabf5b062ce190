//! Which code runs: instruction sets, their detection, and one table of functions for each.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::attention::{self, Task};
use crate::generic::Generic;
use crate::matmul::Activation;
use crate::measure;
use crate::pack::{self, PackJob};
use crate::rows::imp;
use crate::tile::{self, Tile, TileFn};

/// An instruction set that there are kernels for, each containing those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, any CPU.
    Generic,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 with VNNI.
    Avx512Vnni,
    /// AVX-512 with VNNI and BF16.
    Avx512Bf16,
}

impl Isa {
    /// Every set, the plainest first.
    pub const ALL: [Self; 5] = [Self::Generic, Self::Avx2, Self::Avx512, Self::Avx512Vnni, Self::Avx512Bf16];

    /// The best set of this CPU.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if !(has!("avx2") && has!("fma") && has!("f16c")) {
                return Self::Generic;
            }
            if !(has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl")) {
                return Self::Avx2;
            }
            match (has!("avx512vnni"), has!("avx512bf16")) {
                (true, true) => Self::Avx512Bf16,
                (true, false) => Self::Avx512Vnni,
                _ => Self::Avx512,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Generic
    }

    /// The sets that this CPU has, the plainest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let best = Self::detect();
        Self::ALL.into_iter().filter(move |&isa| isa <= best)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generic => "generic",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512Bf16 => "avx512bf16",
        })
    }
}

impl FromStr for Isa {
    type Err = Error;

    /// The names that `Display` writes.
    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|isa| isa.to_string() == name);
        found.ok_or_else(|| Error::IsaName { name: name.to_owned() })
    }
}

/// The kernels of one instruction set. Cheap to copy; all operations are methods of it.
#[derive(Clone, Copy)]
pub struct Kernels {
    isa: Isa,
    table: &'static Table,
}

impl Kernels {
    /// The kernels of the best set of this CPU.
    pub fn detect() -> Self {
        Self::of(Isa::detect())
    }

    /// The kernels of `isa`.
    ///
    /// # Errors
    /// [`Error::Isa`] when this CPU does not have it.
    pub fn for_isa(isa: Isa) -> Result<Self, Error> {
        let best = Isa::detect();
        if isa > best {
            return Err(Error::Isa { isa, best });
        }
        Ok(Self::of(isa))
    }

    /// `isa` is one that this CPU has.
    fn of(isa: Isa) -> Self {
        let table = match isa {
            Isa::Generic => &generic::TABLE,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::TABLE,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::TABLE,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => &avx512vnni::TABLE,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => &avx512bf16::TABLE,
            #[cfg(not(target_arch = "x86_64"))]
            _ => &generic::TABLE,
        };
        Self { isa, table }
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The functions, which run on this CPU.
    pub(crate) fn table(&self) -> &'static Table {
        self.table
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernels").field("isa", &self.isa).finish_non_exhaustive()
    }
}

/// The functions of one instruction set.
///
/// # Safety
/// They may be called on a CPU that has the set; further conditions stand at the functions that
/// they are instances of.
pub(crate) struct Table {
    /// By format, then number of tokens less one.
    pub(crate) tiles: [&'static [TileFn]; 8],
    pub(crate) pack: unsafe fn(&PackJob<'_>),
    pub(crate) glu: unsafe fn(Activation, *mut f32, *const f32),
    pub(crate) attention_f16: unsafe fn(&Task<'_>),
    pub(crate) attention_bf16: unsafe fn(&Task<'_>),
    pub(crate) rms_norm: unsafe fn(&mut [f32], &[f32], f32),
    pub(crate) softcap: unsafe fn(&mut [f32], f32),
    pub(crate) softmax: unsafe fn(&mut [f32]),
    pub(crate) log_sum_exp: unsafe fn(&[f32]) -> f32,
    pub(crate) max: unsafe fn(&[f32]) -> f32,
    pub(crate) to_f16: unsafe fn(&[f32], &mut [u16]),
    pub(crate) read: unsafe fn(&[u8]) -> u32,
    pub(crate) peak_int8: unsafe fn(u64) -> u64,
    pub(crate) peak_bf16: unsafe fn(u64) -> u64,
    pub(crate) peak_f32: unsafe fn(u64) -> u64,
}

/// Instances of all functions for one set: its vectors, those of the tiles of quantized formats, its
/// CPU features, the tokens per tile for plain, 8-bit and 4-bit formats, and the rows and vectors of
/// an attention tile.
macro_rules! table {
    (
        $set:ident, $simd:ty, $tile:ty, $(#[$feature:meta])?,
        plain $plain:tt, wide $wide:tt, narrow $narrow:tt, attention $rows:literal $vectors:literal
    ) => {
        mod $set {
            #![allow(clippy::undocumented_unsafe_blocks, reason = "the contract is `Table`'s")]
            use super::*;
            type S = $simd;
            type Q = $tile;
            table!(@tiles S $(#[$feature])?, f32 f16 bf16);
            table!(@tiles Q $(#[$feature])?, w8 w4 k4 k5 k6);
            table!(@plain $(#[$feature])?,
                pack::pack => fn pack_job(job: &PackJob<'_>),
                imp::glu::<S> => fn glu(a: Activation, gate: *mut f32, up: *const f32),
                attention::attend::<S, false, $rows, $vectors> => fn attend_f16(task: &Task<'_>),
                attention::attend::<S, true, $rows, $vectors> => fn attend_bf16(task: &Task<'_>),
                imp::rms_norm::<S> => fn rms_norm(x: &mut [f32], weight: &[f32], eps: f32),
                imp::softcap::<S> => fn softcap(x: &mut [f32], cap: f32),
                imp::softmax::<S> => fn softmax(x: &mut [f32]),
                imp::log_sum_exp::<S> => fn log_sum_exp(x: &[f32]) -> f32,
                imp::max::<S> => fn max(x: &[f32]) -> f32,
                imp::to_f16::<S> => fn to_f16(x: &[f32], out: &mut [u16]),
                measure::read::<S> => fn read(bytes: &[u8]) -> u32,
                measure::int8::<Q> => fn peak_int8(n: u64) -> u64,
                measure::bf16::<S> => fn peak_bf16(n: u64) -> u64,
                measure::f32::<S> => fn peak_f32(n: u64) -> u64
            );
            pub(super) static TABLE: Table = Table {
                tiles: [
                    table!(@list f32 $plain), table!(@list f16 $plain), table!(@list bf16 $plain),
                    table!(@list w8 $wide), table!(@list w4 $narrow), table!(@list k4 $narrow),
                    table!(@list k5 $wide), table!(@list k6 $wide),
                ],
                pack: pack_job,
                glu,
                attention_f16: attend_f16,
                attention_bf16: attend_bf16,
                rms_norm,
                softcap,
                softmax,
                log_sum_exp,
                max,
                to_f16,
                read,
                peak_int8,
                peak_bf16,
                peak_f32,
            };
        }
    };
    (@tiles $simd:ident $(#[$feature:meta])?, $($name:ident)*) => {
        table!(@each $simd [$(#[$feature])?] $($name)*);
    };
    (@each $simd:ident $feature:tt $($name:ident)*) => { $(table!(@tile $simd $feature $name);)* };
    (@tile $simd:ident [$(#[$feature:meta])?] $name:ident) => {
        $(#[$feature])?
        unsafe fn $name<const T: usize>(a: Tile) {
            // One token leaves registers free, and a stream of whole lines is read faster.
            if T == 1 { unsafe { tile::$name::<S, T>(a) } } else { unsafe { tile::$name::<$simd, T>(a) } }
        }
    };
    (@plain $(#[$feature:meta])?, $($body:path => fn $name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?),*) => {
        table!(@fns [$(#[$feature])?] $($body => fn $name($($arg: $ty),*) $(-> $out)?),*);
    };
    (@fns $feature:tt $($body:path => fn $name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?),*) => {
        $(table!(@fn $feature $body => fn $name($($arg: $ty),*) $(-> $out)?);)*
    };
    (@fn [$(#[$feature:meta])?] $body:path => fn $name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?) => {
        $(#[$feature])?
        unsafe fn $name($($arg: $ty),*) $(-> $out)? {
            unsafe { $body($($arg),*) }
        }
    };
    (@list $name:ident [$($tokens:literal)*]) => { &[$($name::<$tokens>),*] };
}

table!(generic, Generic, Generic, , plain [1 2 3 4], wide [1 2 3 4], narrow [1 2 3 4], attention 2 2);
#[cfg(target_arch = "x86_64")]
table!(
    avx2, crate::x86_64::avx2::Avx2<2>, crate::x86_64::avx2::Avx2<1>,
    #[target_feature(enable = "avx2,fma,f16c")],
    plain [1 2 3], wide [1 2 3 4 5 6 7 8 9 10 11 12], narrow [1 2 3 4 5 6 7 8 9 10 11 12], attention 2 2
);
#[cfg(target_arch = "x86_64")]
table!(
    avx512, crate::x86_64::avx512::Avx512<false, false>, crate::x86_64::avx512::Avx512<false, false>,
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")],
    plain [1 2 3 4 5 6 7 8 9 10 11 12], wide [1 2 3 4 5 6 7 8],
    narrow [1 2 3 4 5 6 7 8 9 10 11 12], attention 4 4
);
#[cfg(target_arch = "x86_64")]
table!(
    avx512vnni, crate::x86_64::avx512::Avx512<true, false>, crate::x86_64::avx512::Avx512<true, false>,
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")],
    plain [1 2 3 4 5 6 7 8 9 10 11 12], wide [1 2 3 4 5 6 7 8 9 10 11 12],
    narrow [1 2 3 4 5 6 7 8 9 10 11 12], attention 4 4
);
#[cfg(target_arch = "x86_64")]
table!(
    avx512bf16, crate::x86_64::avx512::Avx512<true, true>, crate::x86_64::avx512::Avx512<true, true>,
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")],
    plain [1 2 3 4 5 6 7 8 9 10 11 12], wide [1 2 3 4 5 6 7 8 9 10 11 12],
    narrow [1 2 3 4 5 6 7 8 9 10 11 12], attention 4 4
);
