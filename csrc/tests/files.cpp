// Readers of files: JSON, SHA-256 and the safetensors format, from right bytes and from whatever else.
#include "files/json.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "files/sha256.h"
#include "gru_native.h"
#include "models.h"

using namespace gru;
using namespace gru::tests;

namespace {

bool is_json(std::string_view text) {
  try {
    Json::read(text);
    return true;
  } catch (const std::invalid_argument&) {
    return false;
  }
}

std::string text_of(std::string_view text) { return Json::read(text).text("text"); }
double number_of(std::string_view text) { return Json::read(text).number("number"); }

template <class Call>
bool throws(Call call) {
  try {
    call();
    return false;
  } catch (const std::invalid_argument&) {
    return true;
  }
}

}  // namespace

TEST(json_that_is_right) {
  for (const char* const text : {"null",
                                 " true ",
                                 "\t\r\nfalse\n",
                                 "0",
                                 "-0",
                                 "12",
                                 "-1.5",
                                 "1e5",
                                 "1E+5",
                                 "1.25e-3",
                                 "123456789012345678",
                                 "\"\"",
                                 "\"a b\"",
                                 "[]",
                                 "[ ]",
                                 "[1]",
                                 "[1, [2, [ ]], null]",
                                 "{}",
                                 "{ }",
                                 R"({"":0})",
                                 R"({"a":1,"b":{"c":[true]}})",
                                 R"("\"\\\/\b\f\n\r\t")",
                                 R"("\u0041\u00e9\u20ac\ud83d\ude00\u0000")",
                                 "\"\x7f\"",
                                 "\"\xc3\xa9\""})
    CHECK(is_json(text));
  CHECK(text_of(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
  CHECK(text_of(R"("\u0041\u00E9\u20ac\uD83D\uDE00")") == "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(text_of(R"("\u07ff\u0800\uffff\udbff\udfff")") == "\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf");
  CHECK(text_of(R"("a\u0000b")") == std::string("a\0b", 3));
  CHECK(number_of("-1.5e2") == -150 && number_of("0.1") == 0.1 && number_of("9007199254740993") == 9007199254740992);
  const Json nested = Json::read(R"({"a" : [1, {"b" : "c"} ] })");
  const Json& inner = nested.object("").at("a").array("").at(1);
  CHECK(inner.source() == R"({"b" : "c"})" && inner.object("").at("b").text("") == "c");
}

TEST(json_that_is_wrong) {
  for (const char* const text : {"",
                                 " ",
                                 "nul",
                                 "nullx",
                                 "null null",
                                 "TRUE",
                                 "tru",
                                 "+1",
                                 "-",
                                 "01",
                                 "-01",
                                 "1.",
                                 ".5",
                                 "1.e2",
                                 "1e",
                                 "1e+",
                                 "0x1",
                                 "1 2",
                                 "NaN",
                                 "Infinity",
                                 "-Infinity",
                                 "1e999",
                                 "--1",
                                 "1,",
                                 ",",
                                 "[",
                                 "]",
                                 "[1",
                                 "[1,",
                                 "[1,]",
                                 "[,1]",
                                 "[1 2]",
                                 "[1}",
                                 "{",
                                 "}",
                                 "{1:2}",
                                 "{a:1}",
                                 "{\"a\"}",
                                 "{\"a\":}",
                                 "{\"a\":1",
                                 "{\"a\":1,",
                                 "{\"a\":1,}",
                                 "{\"a\" 1}",
                                 "{,}",
                                 "{\"a\":1]",
                                 "{\"a\":1,\"a\":2}",
                                 "{\"a\":1,\"\\u0061\":2}",
                                 "\"",
                                 "\"a",
                                 "'a'",
                                 "\"\\\"",
                                 "\"\\",
                                 "\"\\x\"",
                                 "\"\\u\"",
                                 "\"\\u12\"",
                                 "\"\\u123",
                                 "\"\\u123g\"",
                                 "\"\\u-123\"",
                                 "\"\\u+123\"",
                                 "\"\\u 123\"",
                                 "\"\\ud800\"",
                                 "\"\\udc00\"",
                                 "\"\\ud800\\ud800\"",
                                 "\"\\ud800\\n\"",
                                 "\"\\ud800\\u0041\"",
                                 "\"\\ud800x\"",
                                 "\"a\nb\"",
                                 "\"\t\"",
                                 "\"\x1f\"",
                                 "\xef\xbb\xbfnull",
                                 "/* */ null",
                                 "[1] // x",
                                 "\xff",
                                 "\\u0041"})
    CHECK(!is_json(text));
  CHECK(!is_json(std::string_view("\"a\0b\"", 5)) && !is_json(std::string_view("1\0", 2)));
  // A reader of a part does not look behind it.
  for (const std::string_view whole :
       {"\"abc\"", "\"\\u0041\"", "true", "[1,23]", "{\"a\":1.5e-1}", "\"\\ud83d\\ude00\""})
    for (size_t size = 0; size < whole.size(); ++size) CHECK(!is_json(whole.substr(0, size)));
}

TEST(json_is_nested_so_deeply) {
  const auto nested = [](size_t depth, const char* open, const char* close) {
    std::string text;
    for (size_t i = 0; i < depth; ++i) text += open;
    text += "0";
    for (size_t i = 0; i < depth; ++i) text += close;
    return text;
  };
  CHECK(is_json(nested(64, "[", "]")) && is_json(nested(64, "{\"a\":", "}")));
  for (const size_t depth : {size_t{65}, size_t{1'000'000}})
    CHECK(!is_json(nested(depth, "[", "]")) && !is_json(nested(depth, "{\"a\":", "}")));
}

TEST(json_of_another_kind_is_named) {
  const Json number = Json::read("1.5"), text = Json::read("\"1\"");
  CHECK(throws([&] { number.text("x"); }) && throws([&] { number.flag("x"); }) && throws([&] { number.array("x"); }));
  CHECK(throws([&] { number.object("x"); }) && throws([&] { text.number("x"); }) && throws([&] { number.whole("x"); }));
  for (const char* const wrong : {"-1", "0.5", "9007199254740994", "1e300"})
    CHECK(throws([&] { Json::read(wrong).whole("x"); }));
  CHECK(Json::read("9007199254740992").whole("x") == 9007199254740992 && Json::read("-0").whole("x") == 0);
  try {
    text.flag("model: bias");
  } catch (const std::invalid_argument& wrong) {
    CHECK(std::strcmp(wrong.what(), "model: bias: expected true or false") == 0);
  }
}

namespace {

std::string sha256(std::string_view message, size_t piece) {
  Sha256 sum;
  const auto* const bytes = reinterpret_cast<const unsigned char*>(message.data());
  for (size_t at = 0; at < message.size(); at += piece) sum.add({bytes + at, std::min(piece, message.size() - at)});
  std::string digits;
  for (const unsigned char byte : sum.digest()) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", byte);
    digits += two;
  }
  return digits;
}

}  // namespace

// Of the examples of FIPS 180-4 and of NIST's list for byte-oriented implementations; the last ones by Python's
// hashlib.
TEST(sha256_of_known_messages) {
  const struct {
    std::string message;
    const char* digest;
  } cases[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrst"
       "u",
       "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
      {"\xbd", "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b"},
      {"\xc9\x8c\x8e\x55", "7abc22c0ae5af26ce93dbb94433a0e0b2e119d014f8e7f65bd56c61ccccd9504"},
      {std::string(1'000'000, 'a'), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
      {std::string(55, '\0'), "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7"},
      {std::string(56, '\0'), "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb"},
      {std::string(57, '\0'), "65a16cb7861335d5ace3c60718b5052e44660726da4cd13bb745381b235a1785"},
      {std::string(64, '\0'), "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"},
  };
  for (const auto& [message, digest] : cases)
    for (const size_t piece : {size_t{1} << 30, size_t{1}, size_t{63}, size_t{64}, size_t{65}})
      if (piece > 1 || message.size() < 1000) CHECK(sha256(message, piece) == digest);
}

namespace {

// What a status and its message say of an argument.
bool refuses(gn_status status, const char* argument) {
  return status == GN_INVALID && std::strcmp(error()->argument, argument) == 0 &&
         std::strstr(error()->message, "expected");
}

bool is_file(const std::string& header, const std::string& data = "") {
  const std::string content = file_of(header, data);
  gn_file* file = nullptr;
  const gn_status status = gn_file_read(content.data(), content.size(), &file, error());
  CHECK(status == GN_OK || (status == GN_INVALID && !file));
  gn_file_destroy(file);
  return status == GN_OK;
}

std::string array_of(const std::string& type, const std::string& shape, const std::string& offsets) {
  return joined(R"({"dtype":")", type, R"(","shape":)", shape, R"(,"data_offsets":)", offsets, "}");
}

// A file with one array.
bool is_array(const std::string& type, const std::string& shape, const std::string& offsets, size_t bytes) {
  return is_file(joined("{\"a\":", array_of(type, shape, offsets), "}"), std::string(bytes, 'x'));
}

}  // namespace

TEST(a_file_gives_its_arrays) {
  const float numbers[] = {1, 2, 3, 4, 5, 6};
  const std::string data(reinterpret_cast<const char*>(numbers), sizeof numbers);
  const FileHandle file =
      read(file_of("{\"b\":" + array_of("F32", "[2,2]", "[8,24]") + ",\"__metadata__\":{\"k\":\"v\"},\"\\u00e9\":" +
                       array_of("F32", "[2]", "[0,8]") + ",\"none\":" + array_of("I64", "[3,0]", "[24,24]") +
                       ",\"axes\":" + array_of("U8", "[0,1,1,1,1,1,1,1,1]", "[24,24]") + "}   ",
                   data));
  const char* const names[] = {"axes", "b", "none", "\xc3\xa9"};
  for (size_t place = 0; place < 4; ++place) CHECK(std::strcmp(gn_file_name(file.get(), place), names[place]) == 0);
  CHECK(!gn_file_name(file.get(), 4) && !gn_file_name(nullptr, 0));
  gn_array array{};
  array.size = sizeof array;
  must(gn_file_array(file.get(), "b", &array, error()));
  CHECK(std::strcmp(array.type, "F32") == 0 && array.axes == 2 && array.shape[0] == 2 && array.shape[1] == 2);
  CHECK(std::memcmp(array.data, numbers + 2, 16) == 0);
  must(gn_file_array(file.get(), "none", &array, error()));
  CHECK(array.axes == 2 && array.shape[0] == 3 && array.shape[1] == 0);
  CHECK(refuses(gn_file_array(file.get(), "axes", &array, error()), "array"));
  for (const char* const name : {"", "c", "__metadata__"})
    CHECK(refuses(gn_file_array(file.get(), name, &array, error()), "name"));
  CHECK(refuses(gn_file_array(file.get(), nullptr, &array, error()), "name"));
  CHECK(refuses(gn_file_array(file.get(), "b", nullptr, error()), "array"));
  CHECK(refuses(gn_file_array(nullptr, "b", &array, error()), "file"));
  // An older program's structure ends earlier, a newer one's later.
  array = {};
  array.size = offsetof(gn_array, axes);
  array.axes = 77;
  must(gn_file_array(file.get(), "b", &array, error()));
  CHECK(array.data && array.axes == 77);
  for (const size_t size : {size_t{0}, size_t{4}}) {
    array.size = size;
    CHECK(refuses(gn_file_array(file.get(), "b", &array, error()), "array.size"));
  }
}

TEST(arrays_lie_one_behind_the_other) {
  const auto two = [](const std::string& first, const std::string& second, size_t bytes) {
    return is_file("{\"a\":" + array_of("F32", "[2]", first) + ",\"b\":" + array_of("F32", "[2]", second) + "}",
                   std::string(bytes, 'x'));
  };
  CHECK(two("[0,8]", "[8,16]", 16) && two("[8,16]", "[0,8]", 16));
  CHECK(!two("[0,8]", "[8,16]", 17) && !two("[0,8]", "[8,16]", 15) && !two("[0,8]", "[12,20]", 20));
  CHECK(!two("[0,8]", "[0,8]", 8) && !two("[0,8]", "[4,12]", 12) && !two("[4,12]", "[12,20]", 20));
  CHECK(is_file("{}") && !is_file("{}", "x"));
  CHECK(is_file("{\"a\":" + array_of("F32", "[0]", "[0,0]") + ",\"b\":" + array_of("F32", "[1]", "[0,4]") +
                    ",\"c\":" + array_of("F32", "[0]", "[4,4]") + "}",
                "1234"));
}

TEST(what_is_said_of_an_array_must_fit) {
  for (const auto& [type, size] : {std::pair{"F64", 8},
                                   {"F32", 4},
                                   {"F16", 2},
                                   {"BF16", 2},
                                   {"I64", 8},
                                   {"U64", 8},
                                   {"I32", 4},
                                   {"U32", 4},
                                   {"I16", 2},
                                   {"U16", 2},
                                   {"I8", 1},
                                   {"U8", 1},
                                   {"BOOL", 1},
                                   {"C64", 8}}) {
    const std::string end = std::to_string(3 * size);
    CHECK(is_array(type, "[3]", "[0," + end + "]", static_cast<size_t>(3 * size)));
    CHECK(!is_array(type, "[2]", "[0," + end + "]", static_cast<size_t>(3 * size)));
  }
  CHECK(is_array("F32", "[]", "[0,4]", 4) && is_array("F32", "[1,2,1]", "[0,8]", 8));
  for (const char* const type : {"", "f32", "F33", "F8_E4M3", "float32"}) CHECK(!is_array(type, "[1]", "[0,4]", 4));
  // Shapes whose product is beyond any memory, or wraps to what is there.
  for (const char* const shape : {"[9007199254740992,9007199254740992]", "[4294967296,4294967296]",
                                  "[4294967296,4294967296,0]", "[4611686018427387905]", "[9007199254740992,2048,4]",
                                  "[-1]", "[1.5]", "[\"1\"]", "[null]", "{}", "1", "[[1]]", "[1e400]"})
    CHECK(!is_array("F32", shape, "[0,4]", 4) && !is_array("F32", shape, "[0,0]", 0));
  for (const char* const offsets : {"[0]", "[]", "[0,4,8]", "[4,0]", "[0,8]", "[4,8]", "[-4,0]", "[0.5,4.5]", "{}", "4",
                                    "[0,\"4\"]", "[9007199254740991,9007199254740992]", "[9007199254740992,4]", "null"})
    CHECK(!is_array("F32", "[1]", offsets, 4));
  for (const char* const header :
       {"", "null", "[]", "{", "{\"a\":1}", "{\"a\":{}}", "{\"a\":[]}", "{\"__metadata__\":1}",
        "{\"__metadata__\":{\"a\":1}}", R"({"a":{"dtype":"F32","shape":[0]}})",
        R"({"a":{"dtype":"F32","data_offsets":[0,0]}})", R"({"a":{"shape":[0],"data_offsets":[0,0]}})",
        R"({"a":{"dtype":4,"shape":[0],"data_offsets":[0,0]}})"})
    CHECK(!is_file(header));
  // Numbers are read where they lie: a program may take them as what they are.
  CHECK(!is_file("{\"a\":" + array_of("U8", "[1]", "[0,1]") + ",\"b\":" + array_of("F32", "[1]", "[1,5]") + "}",
                 "12345"));
}

TEST(a_header_ends_within_the_file) {
  const std::string whole = file_of("{\"a\":" + array_of("F32", "[2]", "[0,8]") + "}", "12345678");
  gn_file* file = nullptr;
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::vector<char> part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));  // not a byte behind it
    const char none = 0;
    CHECK(refuses(gn_file_read(part.empty() ? &none : part.data(), part.size(), &file, error()), "content") && !file);
  }
  for (const uint64_t length : {uint64_t{0}, uint64_t{1}, whole.size() - 8, whole.size() - 7, uint64_t{100'000'001},
                                uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}}) {
    std::string wrong = whole;
    std::memcpy(wrong.data(), &length, sizeof length);
    CHECK(gn_file_read(wrong.data(), wrong.size(), &file, error()) == GN_INVALID && !file);
  }
}

TEST(files_that_cannot_be_read_are_named) {
  gn_file* file = nullptr;
  for (const char* const path : {"/nowhere/at all", "/", ""}) {
    CHECK(gn_file_load(path, &file, error()) == GN_FAILED && !file);
    CHECK(std::strncmp(error()->message, path, std::strlen(path)) == 0 && std::strstr(error()->message, ": "));
  }
  CHECK(refuses(gn_file_load(nullptr, &file, error()), "path"));
  CHECK(refuses(gn_file_load("/", nullptr, error()), "file"));
  CHECK(refuses(gn_file_read(nullptr, 8, &file, error()), "content"));
  CHECK(refuses(gn_file_read("12345678", 8, nullptr, error()), "file"));
  gn_file_destroy(nullptr);
}
