//! Runs a model step by step, as stream.c does.
//!
//!     rustc stream.rs -L LIBRARY_FOLDER
//!     stream model.safetensors < rows.txt
use std::ffi::{CStr, CString};
use std::mem::size_of;
use std::os::raw::{c_char, c_int, c_void};
use std::process::exit;
use std::ptr::null_mut;

#[repr(C)]
struct Error {
    size: usize,
    argument: [c_char; 32],
    message: [c_char; 256],
}

#[repr(C)]
#[derive(Default)]
struct ModelInfo {
    size: usize,
    kind: c_int,
    input_size: usize,
    indices: usize,
    output_size: usize,
    states: usize,
    work: usize,
    digest: [u8; 32],
}

type Handle = *mut c_void;

#[link(name = "gru_native")]
extern "C" {
    fn gn_file_load(path: *const c_char, file: *mut Handle, error: *mut Error) -> c_int;
    fn gn_file_destroy(file: Handle);
    fn gn_model_create(file: Handle, model: *mut Handle, error: *mut Error) -> c_int;
    fn gn_model_destroy(model: Handle);
    fn gn_model_describe(model: Handle, info: *mut ModelInfo, error: *mut Error) -> c_int;
    fn gn_session_create(model: Handle, batch: usize, session: *mut Handle, error: *mut Error) -> c_int;
    fn gn_session_destroy(session: Handle);
    fn gn_session_step(session: Handle, x: *const f32, y: *mut f32, error: *mut Error) -> c_int;
}

fn check(call: impl FnOnce(*mut Error) -> c_int) {
    let mut error = Error { size: size_of::<Error>(), argument: [0; 32], message: [0; 256] };
    if call(&mut error) != 0 {
        eprintln!("{}", unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_string_lossy());
        exit(1);
    }
}

/// One sequence on its way through a model.
struct Session {
    handle: Handle,
    info: ModelInfo,
}

impl Session {
    fn load(path: &str) -> Session {
        let path = CString::new(path).expect("a path without a zero");
        let (mut file, mut model, mut handle) = (null_mut(), null_mut(), null_mut());
        let mut info = ModelInfo { size: size_of::<ModelInfo>(), ..Default::default() };
        unsafe {
            check(|error| gn_file_load(path.as_ptr(), &mut file, error));
            check(|error| gn_model_create(file, &mut model, error));
            check(|error| gn_model_describe(model, &mut info, error));
            check(|error| gn_session_create(model, 1, &mut handle, error));
            gn_model_destroy(model); // the session keeps what it needs
            gn_file_destroy(file);
        }
        assert!(info.kind == 0 && info.indices == 0, "expected a model of float32 numbers");
        Session { handle, info }
    }

    fn step(&mut self, x: &[f32], y: &mut [f32]) {
        assert!(x.len() == self.info.input_size && y.len() == self.info.output_size);
        check(|error| unsafe { gn_session_step(self.handle, x.as_ptr(), y.as_mut_ptr(), error) });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        unsafe { gn_session_destroy(self.handle) }
    }
}

fn main() {
    let path = std::env::args().nth(1).expect("usage: stream MODEL < ROWS");
    let mut session = Session::load(&path);
    let mut y = vec![0.0; session.info.output_size];
    for line in std::io::stdin().lines() {
        let line = line.expect("text");
        let x: Vec<f32> = line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        session.step(&x, &mut y);
        println!("{}", y.iter().map(f32::to_string).collect::<Vec<_>>().join(" "));
    }
}
